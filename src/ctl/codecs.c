#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codec/sqy.h"
#include "ctl/command.h"
#include "ctl/json.h"
#include "ctl/say.h"

static void show_text(const struct sqy_stage_info *info, const char *notes)
{
    printf("%-20s  %-6s  %-5s  %-6s  %-5s  %-4s  %s\n", info->name,
           info->is_sink ? "sink" : "filter", info->is_lossless ? "exact" : "lossy",
           info->is_sqeazy ? "sqeazy" : "-", info->can_write ? "write" : "-",
           info->can_read ? "read" : "-", info->about);
    for (const char *at = notes; *at;) {
        const int len = (int)strcspn(at, "\n");
        printf("%22s%.*s\n", "", len, at);
        at += len + (at[len] == '\n');
    }
}

static void show_json(struct json *json, const struct sqy_stage_info *info, char *notes)
{
    json_map(json);
    json_text(json, "name", info->name);
    json_text(json, "about", info->about);
    json_bool(json, "sink", info->is_sink);
    json_bool(json, "lossless", info->is_lossless);
    json_bool(json, "sqeazy", info->is_sqeazy);
    json_bool(json, "write", info->can_write);
    json_bool(json, "read", info->can_read);
    json_key(json, "notes");
    json_list(json);
    char *rest = NULL;
    for (char *line = strtok_r(notes, "\n", &rest); line != NULL;
         line = strtok_r(NULL, "\n", &rest))
        json_text(json, NULL, line);
    json_list_end(json);
    json_map_end(json);
}

/* `json` may be NULL. */
static int show_stages(struct json *json)
{
    struct sqy_stage_info info;
    for (unsigned i = 0; sqy_stage_info(i, &info); i++) {
        char *notes;
        int r = sqy_stage_notes(i, &notes);
        if (r < 0)
            return r;
        if (json != NULL)
            show_json(json, &info, notes);
        else
            show_text(&info, notes);
        free(notes);
    }
    return 0;
}

static int show_all_as_json(void)
{
    struct json *json = json_open();
    if (json == NULL)
        return -ENOMEM;
    json_map(json);
    json_key(json, "stages");
    json_list(json);
    int r = show_stages(json);
    json_list_end(json);
    json_map_end(json);
    json_close(&json);
    return r;
}

static int run(const struct command *command, int argc, char **argv)
{
    bool json = false;
    int code;
    if (!args_plain(command, argc, argv, 0, 0, &json, &code))
        return code;
    int r = json ? show_all_as_json() : show_stages(NULL);
    return r < 0 ? say_error("list", "the stages", r) : EXIT_OK;
}

const struct command codecs_command = {
    .name = "codecs",
    .arguments = "[--json]",
    .summary = "Lists what pipelines can be made of on this machine, and what is lacking and why.",
    .help = "  --json  the same as one JSON object\n\n"
            "For each stage: its name, whether it gives back exactly what it was given, whether "
            "sqeazy has\n"
            "it, whether it can be written and read here. Video is tried: each depth is encoded "
            "without\n"
            "loss, decoded and compared.\n\n",
    .run = run,
};
