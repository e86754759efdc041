/* The generator: its noise is what the camera model says, its bytes never change, its files are
 * TIFFs. */
#include "test.h"

#include <fcntl.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <tiffio.h>
#include <unistd.h>

#include "tools/camera.h"
#include "tools/scene.h"

#define WIDTH  256u
#define PLANES 400u

static const char *program;

/* ---- statistics ---- */

struct moments {
    double mean, variance;
};

/* One row of pixels under even light, exposed often: moments of each pixel. */
static void expose_often(const struct camera *camera, uint32_t electrons, struct moments m[WIDTH])
{
    uint32_t light[WIDTH];
    uint16_t counts[WIDTH];
    double sum[WIDTH] = {0}, squares[WIDTH] = {0};
    for (uint32_t x = 0; x < WIDTH; x++)
        light[x] = electrons;
    for (uint32_t z = 0; z < PLANES; z++) {
        camera_expose(camera, z, 0, light, counts);
        for (uint32_t x = 0; x < WIDTH; x++) {
            sum[x] += counts[x];
            squares[x] += (double)counts[x] * counts[x];
        }
    }
    for (uint32_t x = 0; x < WIDTH; x++) {
        m[x].mean = sum[x] / PLANES;
        m[x].variance = (squares[x] - sum[x] * m[x].mean) / (PLANES - 1);
    }
}

static void mean_and_variance_follow_gain_and_read_noise(void **state)
{
    (void)state;
    struct camera *camera;
    assert_int_equal(camera_create(WIDTH, 1, 120, 7, &camera), 0);
    static const uint32_t light[] = {0, 40, 256, 1000, 8000, 8191, 8192, 30000, 256000, 5000000};
    for (size_t i = 0; i < sizeof(light) / sizeof(light[0]); i++) {
        struct moments m[WIDTH];
        expose_often(camera, light[i], m);
        double electrons = light[i] / 256.0, mean_error = 0, variance_ratio = 0;
        unsigned n = 0;
        for (uint32_t x = 0; x < WIDTH; x++) {
            struct camera_pixel pixel = camera_pixel(camera, x, 0);
            if (pixel.dark > 0)
                continue;
            double got = electrons * pixel.prnu;
            double variance =
                (got + pixel.read_noise * pixel.read_noise) / (0.46 * 0.46) + 1.0 / 12;
            mean_error += (m[x].mean - (pixel.offset + got / 0.46)) / sqrt(variance);
            variance_ratio += m[x].variance / variance;
            n++;
        }
        /* standard errors: 1/sqrt(256 * 400) = 0.003 sigma, and 0.0045 of the variance */
        assert_true(fabs(mean_error / n) < 0.03);
        assert_true(fabs(variance_ratio / n - 1) < 0.03);
    }
    camera_destroy(&camera);
}

static void pixels_are_like_a_real_sensor(void **state)
{
    (void)state;
    enum { SIDE = 1000 };
    struct camera *camera;
    assert_int_equal(camera_create(SIDE, SIDE, 100, 3, &camera), 0);
    double prnu = 0, prnu2 = 0, low = 1e9, high = 0;
    unsigned n = 0, hot = 0, stuck = 0;
    for (uint32_t y = 0; y < SIDE; y++) {
        for (uint32_t x = 0; x < SIDE; x++) {
            struct camera_pixel pixel = camera_pixel(camera, x, y);
            hot += pixel.dark > 0;
            stuck += pixel.dark > 20000;
            if (pixel.dark > 0)
                continue;
            prnu += pixel.prnu;
            prnu2 += pixel.prnu * pixel.prnu;
            low = fmin(low, pixel.read_noise);
            high = fmax(high, pixel.read_noise);
            n++;
        }
    }
    double mean = prnu / n, deviation = sqrt(prnu2 / n - mean * mean);
    assert_true(fabs(mean - 1) < 1e-3);
    assert_true(fabs(deviation - 0.006) < 3e-4);
    assert_true(low >= 1 && low < 1.01 && high <= 1.6 && high > 1.59);
    assert_in_range(hot, 100, 300);
    assert_in_range(stuck, 1, 40);
    camera_destroy(&camera);
}

/* The exact entropy: probabilities of every count, photon by photon. */
static double entropy_by_sum(double electrons, double read_noise)
{
    double spread = 12 * sqrt(electrons + read_noise * read_noise) + 4;
    int low = (int)((electrons - spread) / 0.46), high = (int)((electrons + spread) / 0.46);
    double entropy = 0;
    for (int count = low; count <= high; count++) {
        double p = 0, photons = exp(-electrons);
        for (int k = 0; k < electrons + spread; k++) {
            double from = ((count - 0.5) * 0.46 - k) / (read_noise * M_SQRT2);
            double to = ((count + 0.5) * 0.46 - k) / (read_noise * M_SQRT2);
            p += photons * 0.5 * (erf(to) - erf(from));
            photons *= electrons / (k + 1);
        }
        if (p > 1e-15)
            entropy -= p * log2(p);
    }
    return entropy;
}

static void entropy_is_the_true_one(void **state)
{
    (void)state;
    for (double read_noise = 1; read_noise < 1.7; read_noise += 0.3) {
        for (double electrons = 0.01; electrons < 200; electrons *= 1.7) {
            struct camera_pixel pixel = {.read_noise = read_noise, .prnu = 1};
            double error =
                camera_entropy(&pixel, electrons) - entropy_by_sum(electrons, read_noise);
            assert_true(fabs(error) < 0.02);
        }
    }
}

/* ---- the program ---- */

static int run(const char *const argv[])
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        int null = open("/dev/null", O_WRONLY);
        dup2(null, 1);
        dup2(null, 2);
        execv(program, (char *const *)(uintptr_t)argv);
        _exit(127);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static uint64_t digest_of(const char *path)
{
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    uint64_t digest = 0xcbf29ce484222325u; /* FNV-1a */
    int c;
    while ((c = getc(file)) != EOF)
        digest = (digest ^ (uint64_t)(unsigned)c) * 0x100000001b3u;
    fclose(file);
    return digest;
}

static char dir[] = "/tmp/lightsheet-XXXXXX";
static char path[64];

static int make_dir(void **state)
{
    (void)state;
    if (!mkdtemp(dir))
        return -1;
    snprintf(path, sizeof(path), "%s/out", dir);
    return 0;
}

static int remove_dir(void **state)
{
    (void)state;
    unlink(path);
    return rmdir(dir);
}

static uint64_t make(const char *kind, const char *size, const char *format, const char *threads)
{
    const char *argv[] = {program, "--kind",    kind,    "--size", size, "--format",
                          format,  "--threads", threads, path,     NULL};
    assert_int_equal(run(argv), 0);
    return digest_of(path);
}

static void bytes_never_change(void **state)
{
    (void)state;
    assert_int_equal(make("embryo", "301x203x17", "raw", "1"), 0x66e6dd712350478bu);
    assert_int_equal(make("embryo", "301x203x17", "raw", "5"), 0x66e6dd712350478bu);
    assert_int_equal(make("dense", "64x64x3", "raw", "2"), 0x5a7e72c606d847dcu);
    assert_int_equal(make("sparse", "500x100x2", "raw", "2"), 0xa77cc554e3509e90u);
}

static void bad_arguments_are_usage_errors(void **state)
{
    (void)state;
    static const char *const bad[][4] = {
        {"--kind", "fish", "x"},   {"--size", "0x5x5", "x"}, {"--size", "5x5", "x"},
        {"--size", "5x5x5x", "x"}, {"--offset", "99", "x"},  {"--offset", "-1", "x"},
        {"--format", "png", "x"},  {"--threads", "0", "x"},  {"--pages", "-", NULL},
        {"--nonsense", "x", NULL}, {"a", "b", NULL},         {NULL, NULL, NULL},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        const char *argv[6] = {program};
        for (int j = 0; j < 4; j++)
            argv[j + 1] = bad[i][j];
        assert_int_equal(run(argv), 2);
    }
}

/* Every style, byte order and size of offsets, read with libtiff, against the raw voxels. */
static void check_tiff(const uint16_t *voxels, const char *format, const char *order,
                       const char *pages)
{
    const char *argv[] = {program, "--size", "70x51x5", "--format", format,
                          path,    order,    pages,     NULL};
    if (!order) {
        argv[6] = argv[7];
        argv[7] = NULL;
    }
    assert_int_equal(run(argv), 0);
    TIFF *tiff = TIFFOpen(path, "r");
    assert_non_null(tiff);
    uint16_t row[70];
    uint32_t z = 0;
    do {
        for (uint32_t y = 0; y < 51; y++) {
            assert_int_equal(TIFFReadScanline(tiff, row, y, 0), 1);
            assert_memory_equal(row, voxels + (z * 51 + y) * 70, sizeof(row));
        }
        z++;
    } while (TIFFReadDirectory(tiff));
    TIFFClose(tiff);
    assert_int_equal(z, strcmp(format, "imagej") == 0 ? 1 : 5);
}

static void files_are_tiffs(void **state)
{
    (void)state;
    make("embryo", "70x51x5", "raw", "1");
    static uint16_t voxels[70 * 51 * 5];
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    assert_int_equal(fread(voxels, sizeof(voxels), 1, file), 1);
    fclose(file);
    static const char *const orders[] = {NULL, "--big-endian"};
    for (int i = 0; i < 2; i++) {
        check_tiff(voxels, "tiff", orders[i], NULL);
        check_tiff(voxels, "tiff", orders[i], "--pages");
        check_tiff(voxels, "bigtiff", orders[i], NULL);
        check_tiff(voxels, "bigtiff", orders[i], "--pages");
        check_tiff(voxels, "imagej", orders[i], NULL);
    }
}

int main(int argc, char **argv)
{
    if (argc != 2)
        return 2;
    program = argv[1];
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mean_and_variance_follow_gain_and_read_noise),
        cmocka_unit_test(pixels_are_like_a_real_sensor),
        cmocka_unit_test(entropy_is_the_true_one),
        cmocka_unit_test(bytes_never_change),
        cmocka_unit_test(bad_arguments_are_usage_errors),
        cmocka_unit_test(files_are_tiffs),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
