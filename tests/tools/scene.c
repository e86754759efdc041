#include "scene.h"

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include "camera.h"

#define E CAMERA_ONE_ELECTRON

/* Nuclei lie in cells of cell x cell x cell_z voxels, `many` of 256 candidates are there, two to a
 * cell; filaments start in cells four times as wide. Light in electrons, radii in pixels and
 * planes. */
struct look {
    uint32_t dark, base; /* outside and inside of the specimen, 1/256 electron */
    uint32_t cell, cell_z;
    uint32_t nuclei_in_256, filaments_in_256;
    uint32_t radius, radius_z;
    uint32_t light, light_range; /* of a nucleus in its middle, 1/256 electron */
    uint32_t filament_light;
};

static const struct look looks[] = {
    [SCENE_EMBRYO] = {5 * E / 2, 12 * E, 48, 12, 170, 120, 12, 4, 20 * E, 120 * E, 40 * E},
    [SCENE_DENSE] = {95 * E, 95 * E, 40, 10, 170, 160, 12, 4, 60 * E, 300 * E, 90 * E},
    [SCENE_SPARSE] = {E / 16, E / 16, 160, 24, 24, 200, 14, 5, 20 * E, 80 * E, 25 * E},
};

struct ball {
    int32_t x, y, z; /* pixels, planes */
    int32_t radius, radius_z;
    uint32_t light;
};

struct canvas {
    const struct scene *scene;
    int32_t z;
    uint32_t columns, rows;
    uint32_t *grid;
};

uint32_t scene_grid(uint32_t pixels)
{
    return (pixels + SCENE_STEP - 1) / SCENE_STEP + 1;
}

#define SURFACE (1 << 20)

/* Squared distance from the middle of the specimen, SURFACE where it ends. */
static int64_t specimen_distance(const struct scene *scene, int64_t x, int64_t y, int64_t z)
{
    int64_t w = scene->width, h = scene->height, d = scene->depth;
    int64_t dx = (2 * x - w) * 1150 / w, dy = (2 * y - h) * 1220 / h;
    int64_t dz = d > 1 ? (2 * z - d) * 1090 / d : 0;
    return dx * dx + dy * dy + dz * dz;
}

static bool in_specimen(const struct scene *scene, int64_t x, int64_t y, int64_t z)
{
    return scene->kind != SCENE_EMBRYO || specimen_distance(scene, x, y, z) < SURFACE;
}

/* Glow of the medium outside, of the specimen inside, and a soft rim. */
static uint32_t glow(const struct scene *scene, const struct look *look, int64_t x, int64_t y,
                     int64_t z)
{
    if (look->base == look->dark)
        return look->base;
    int64_t inside = (SURFACE - specimen_distance(scene, x, y, z)) / (SURFACE / 1024);
    uint32_t share = inside < 0 ? 0 : inside > 128 ? 128 : (uint32_t)inside;
    return look->dark + (look->base - look->dark) * share / 128;
}

static void draw_base(const struct canvas *canvas)
{
    const struct scene *scene = canvas->scene;
    const struct look *look = &looks[scene->kind];
    for (uint32_t row = 0; row < canvas->rows; row++) {
        for (uint32_t column = 0; column < canvas->columns; column++) {
            uint32_t light = glow(scene, look, column * SCENE_STEP, row * SCENE_STEP, canvas->z);
            /* the sheet is brightest in its waist */
            int64_t off = (int64_t)(2 * column * SCENE_STEP) - scene->width;
            light -= (uint32_t)(light / 4 * (uint64_t)(off * off) /
                                ((uint64_t)scene->width * scene->width + 1));
            canvas->grid[(size_t)row * canvas->columns + column] = light;
        }
    }
}

static int32_t clamp(int64_t v, int64_t high)
{
    return (int32_t)(v < 0 ? 0 : v > high ? high : v);
}

/* Adds light * (1 - r^2)^2: smooth at the rim, like something blurred. */
static void draw_ball(const struct canvas *canvas, const struct ball *ball)
{
    int64_t dz = canvas->z - ball->z;
    int64_t q_z = dz * dz * 4096 / (ball->radius_z * ball->radius_z);
    if (q_z >= 4096)
        return;
    int32_t step = (int32_t)SCENE_STEP;
    int32_t left = clamp((ball->x - ball->radius) / step, canvas->columns - 1);
    int32_t right = clamp((ball->x + ball->radius) / step + 1, canvas->columns - 1);
    int32_t top = clamp((ball->y - ball->radius) / step, canvas->rows - 1);
    int32_t bottom = clamp((ball->y + ball->radius) / step + 1, canvas->rows - 1);
    for (int32_t row = top; row <= bottom; row++) {
        int64_t dy = row * step - ball->y;
        uint32_t *line = canvas->grid + (size_t)row * canvas->columns;
        for (int32_t column = left; column <= right; column++) {
            int64_t dx = column * step - ball->x;
            int64_t q = q_z + (dx * dx + dy * dy) * 4096 / (ball->radius * ball->radius);
            if (q < 4096)
                line[column] +=
                    (uint32_t)((uint64_t)ball->light * (uint64_t)((4096 - q) * (4096 - q)) >> 24);
        }
    }
}

static void draw_nucleus(const struct canvas *canvas, const struct look *look, int32_t cell_x,
                         int32_t cell_y, int32_t cell_z, unsigned which)
{
    const struct scene *scene = canvas->scene;
    uint64_t cell =
        (uint64_t)(uint32_t)cell_z << 40 | (uint64_t)(uint32_t)cell_y << 20 | (uint32_t)cell_x;
    uint64_t bits = camera_hash(scene->seed ^ 0x6e75636cu, cell * 2 + which);
    if ((bits & 255) >= look->nuclei_in_256)
        return;
    struct ball ball = {
        .x = (int32_t)((uint32_t)cell_x * look->cell + (bits >> 8 & 255) * look->cell / 256),
        .y = (int32_t)((uint32_t)cell_y * look->cell + (bits >> 16 & 255) * look->cell / 256),
        .z = (int32_t)((uint32_t)cell_z * look->cell_z + (bits >> 24 & 255) * look->cell_z / 256),
        .radius = (int32_t)(look->radius + (bits >> 32 & 7)),
        .radius_z = (int32_t)(look->radius_z + (bits >> 35 & 1)),
        .light = look->light + (uint32_t)((uint64_t)look->light_range * (bits >> 40 & 255) / 256),
    };
    if (in_specimen(scene, ball.x, ball.y, ball.z))
        draw_ball(canvas, &ball);
}

/* A random walk of blurred beads that keeps its direction for a while. */
static void draw_filament(const struct canvas *canvas, const struct look *look, int32_t cell_x,
                          int32_t cell_y, int32_t cell_z)
{
    const struct scene *scene = canvas->scene;
    uint64_t cell =
        (uint64_t)(uint32_t)cell_z << 40 | (uint64_t)(uint32_t)cell_y << 20 | (uint32_t)cell_x;
    uint64_t bits = camera_hash(scene->seed ^ 0x66696c61u, cell);
    if ((bits & 255) >= look->filaments_in_256)
        return;
    uint32_t wide = look->cell * 4;
    struct ball bead = {
        .x = (int32_t)((uint32_t)cell_x * wide + (bits >> 8 & 255) * wide / 256),
        .y = (int32_t)((uint32_t)cell_y * wide + (bits >> 16 & 255) * wide / 256),
        .z = (int32_t)((uint32_t)cell_z * look->cell_z * 2 + (bits >> 24 & 31)),
        .radius = 6,
        .radius_z = 3,
        .light = look->filament_light,
    };
    int32_t dx = (int32_t)(bits >> 32 & 7) - 3, dy = (int32_t)(bits >> 35 & 7) - 3;
    for (unsigned i = 0; i < 60; i++) {
        uint64_t turn = camera_hash(bits, i);
        bead.x += dx + (int32_t)(turn & 3) - 1;
        bead.y += dy + (int32_t)(turn >> 2 & 3) - 1;
        bead.z += (turn >> 4 & 15) == 0 ? 1 : (turn >> 4 & 15) == 1 ? -1 : 0;
        if (in_specimen(scene, bead.x, bead.y, bead.z))
            draw_ball(canvas, &bead);
    }
}

static void draw_layer(const struct canvas *canvas, const struct look *look, int32_t layer)
{
    int32_t across = (int32_t)(canvas->scene->width / look->cell);
    int32_t down = (int32_t)(canvas->scene->height / look->cell);
    for (int32_t y = 0; y <= down; y++) {
        for (int32_t x = 0; x <= across; x++) {
            draw_nucleus(canvas, look, x, y, layer, 0);
            draw_nucleus(canvas, look, x, y, layer, 1);
        }
    }
}

void scene_draw(const struct scene *scene, uint32_t z, uint32_t *grid)
{
    const struct look *look = &looks[scene->kind];
    struct canvas canvas = {
        .scene = scene,
        .z = (int32_t)z,
        .columns = scene_grid(scene->width),
        .rows = scene_grid(scene->height),
        .grid = grid,
    };
    draw_base(&canvas);
    int32_t layer = (int32_t)(z / look->cell_z);
    for (int32_t l = layer > 0 ? layer - 1 : 0; l <= layer + 1; l++)
        draw_layer(&canvas, look, l);
    int32_t wide_layer = (int32_t)(z / (2 * look->cell_z));
    int32_t across = (int32_t)(scene->width / (4 * look->cell));
    int32_t down = (int32_t)(scene->height / (4 * look->cell));
    for (int32_t l = wide_layer > 2 ? wide_layer - 2 : 0; l <= wide_layer; l++)
        for (int32_t y = 0; y <= down; y++)
            for (int32_t x = 0; x <= across; x++)
                draw_filament(&canvas, look, x, y, l);
}

void scene_row(const struct scene *scene, const uint32_t *grid, uint32_t y, uint32_t *electrons)
{
    size_t columns = scene_grid(scene->width);
    const uint32_t *above = grid + y / SCENE_STEP * columns;
    const uint32_t *below = above + columns;
    uint32_t part = y % SCENE_STEP;
    for (uint32_t x = 0; x < scene->width; x += SCENE_STEP) {
        uint32_t column = x / SCENE_STEP;
        uint32_t a = above[column] * (SCENE_STEP - part) + below[column] * part;
        uint32_t b = above[column + 1] * (SCENE_STEP - part) + below[column + 1] * part;
        for (uint32_t i = 0; i < SCENE_STEP && x + i < scene->width; i++)
            electrons[x + i] = (a * (SCENE_STEP - i) + b * i) / (SCENE_STEP * SCENE_STEP);
    }
}
