#include <expat.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "image/describe.h"

struct ome {
    XML_Parser parser;
    struct description *out;
    bool seen_pixels;
};

/* Without its namespace's prefix. */
static const char *local_name(const char *name)
{
    const char *colon = strrchr(name, ':');
    return colon ? colon + 1 : name;
}

static uint32_t parse_count(const char *text)
{
    char *end;
    unsigned long long n = strtoull(text, &end, 10);
    return end != text && *end == '\0' && n <= UINT32_MAX ? (uint32_t)n : 0;
}

static double parse_length(const char *text)
{
    double length = strtod(text, NULL);
    return isfinite(length) && length > 0 ? length : 0;
}

static const char *attribute(const char **attributes, const char *name)
{
    for (; attributes[0]; attributes += 2)
        if (strcmp(attributes[0], name) == 0)
            return attributes[1];
    return NULL;
}

static double voxel_size(const char **attributes, const char *size_name, const char *unit_name)
{
    const char *size = attribute(attributes, size_name), *unit = attribute(attributes, unit_name);
    if (!size)
        return 0;
    return parse_length(size) * (unit ? describe_unit(unit, strlen(unit)) : 1);
}

static uint32_t size_of(const char **attributes, const char *name)
{
    const char *text = attribute(attributes, name);
    return text ? parse_count(text) : 0;
}

/* The first image of a file is taken for all of it. */
static void take_pixels(struct ome *ome, const char **attributes)
{
    struct description *out = ome->out;
    if (ome->seen_pixels)
        return;
    ome->seen_pixels = true;
    out->channels = size_of(attributes, "SizeC");
    out->slices = size_of(attributes, "SizeZ");
    out->frames = size_of(attributes, "SizeT");
    out->voxel_x = voxel_size(attributes, "PhysicalSizeX", "PhysicalSizeXUnit");
    out->voxel_y = voxel_size(attributes, "PhysicalSizeY", "PhysicalSizeYUnit");
    out->voxel_z = voxel_size(attributes, "PhysicalSizeZ", "PhysicalSizeZUnit");
}

static void XMLCALL on_start(void *ctx, const XML_Char *name, const XML_Char **attributes)
{
    struct ome *ome = ctx;
    name = local_name(name);
    if (strcmp(name, "Pixels") == 0)
        take_pixels(ome, attributes);
    if (strcmp(name, "HashSHA1") == 0 || attribute(attributes, "HashSHA1")) {
        ome->out->pixel_hash = true;
        XML_StopParser(ome->parser, XML_FALSE); /* nothing else comes that matters */
    }
}

/* OME-XML declares no entities; a text that does means to blow up. */
static void XMLCALL on_entity(void *ctx, const XML_Char *name, int is_parameter,
                              const XML_Char *value, int value_len, const XML_Char *base,
                              const XML_Char *system_id, const XML_Char *public_id,
                              const XML_Char *notation)
{
    (void)name;
    (void)is_parameter;
    (void)value;
    (void)value_len;
    (void)base;
    (void)system_id;
    (void)public_id;
    (void)notation;
    XML_StopParser(((struct ome *)ctx)->parser, XML_FALSE);
}

struct ome *ome_create(struct description *out)
{
    struct ome *ome = calloc(1, sizeof(*ome));
    if (!ome)
        return NULL;
    ome->out = out;
    ome->parser = XML_ParserCreate(NULL);
    if (!ome->parser) {
        free(ome);
        return NULL;
    }
    XML_SetUserData(ome->parser, ome);
    XML_SetStartElementHandler(ome->parser, on_start);
    XML_SetEntityDeclHandler(ome->parser, on_entity);
    return ome;
}

bool ome_feed(struct ome *ome, const char *text, size_t len)
{
    return XML_Parse(ome->parser, text, (int)len, XML_FALSE) == XML_STATUS_OK;
}

void ome_destroy(struct ome **ome)
{
    if (!*ome)
        return;
    XML_ParserFree((*ome)->parser);
    free(*ome);
    *ome = NULL;
}
