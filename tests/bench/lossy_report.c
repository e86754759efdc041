#include "lossy_report.h"

#include <math.h>

/* ---- printed ---- */

static void print_speed(const struct measure_speed *speed, int width)
{
    char text[64];
    snprintf(text, sizeof(text), "%.0f (%.0f..%.0f)", speed->median, speed->low, speed->high);
    printf("  %-*s", width, text);
}

static void print_row(const struct lossy_row *row, const struct lossy_measure *m)
{
    const struct sqy_receipt *receipt = &m->receipt;
    printf("  %-50s", row->pipeline);
    if (m->skipped[0] != '\0') {
        printf("  skipped: %s\n", m->skipped);
        return;
    }
    printf(" %7.2f", m->ratio);
    print_speed(&m->encode, 17);
    print_speed(&m->decode, 17);
    printf("  %6.0f  %6.0f", m->encode_all.median, m->decode_all.median);
    printf("  %7.3f  %7.3f  %8.2f  %8.2f  %6.1f%s\n", sqy_receipt_rms_sigma(receipt), m->capped,
           receipt->max_sigma, sqy_receipt_rms(receipt), sqy_receipt_psnr(receipt),
           m->agrees ? "" : "  RECEIPT IS WRONG");
}

void lossy_report_print(const struct volume *volume, const struct sqy_noise *noise,
                        const struct lossy_rows *rows, const struct lossy_measure *measures)
{
    const struct planes *planes = &volume->planes;
    printf("\n%s: %u x %u x %u, %.1f MB", volume->name, planes->width, planes->rows, planes->depth,
           (double)planes_bytes(planes) / 1e6);
    if (noise != NULL)
        printf("; noise: offset %.2f, gain %.4f, read %.3f counts\n", noise->offset, noise->gain,
               noise->read);
    else
        printf("; no noise was found: sigma is 1 count\n");
    printf("  %-50s %7s  %-17s  %-17s  %6s  %6s  %7s  %7s  %8s  %8s  %6s\n", "", "",
           "a core: encode", "decode", "all:", "", "rms", "capped", "max", "rms", "PSNR");
    printf("  %-50s %7s  %-17s  %-17s  %6s  %6s  %7s  %7s  %8s  %8s  %6s\n", "", "ratio", "MB/s",
           "MB/s", "encode", "decode", "sigma", "sigma", "sigma", "counts", "dB");
    for (unsigned i = 0; i < rows->n; i++)
        print_row(&rows->list[i], &measures[i]);
    fflush(stdout);
}

/* ---- CSV ---- */

void lossy_report_csv_head(FILE *csv)
{
    fprintf(csv, "volume,series,setting,pipeline,skipped,bytes,coded,ratio,rounds,threads,"
                 "encode_mb_s,encode_lowest,encode_highest,decode_mb_s,decode_lowest,"
                 "decode_highest,encode_all_mb_s,encode_all_lowest,encode_all_highest,"
                 "decode_all_mb_s,decode_all_lowest,decode_all_highest,rms_sigma,max_sigma,"
                 "rms_counts,max_counts,within_sigma,psnr_db,rms_capped_sigma,offset,gain,read\n");
}

static void csv_speed(FILE *csv, const struct measure_speed *speed)
{
    fprintf(csv, ",%.1f,%.1f,%.1f", speed->median, speed->low, speed->high);
}

/* As RFC 4180 has it. */
static void csv_text(FILE *csv, const char *text)
{
    putc('"', csv);
    for (; *text != '\0'; text++) {
        if (*text == '"')
            putc('"', csv);
        putc(*text == '\n' ? ' ' : *text, csv);
    }
    putc('"', csv);
}

static void csv_errors(FILE *csv, const struct sqy_receipt *receipt)
{
    fprintf(csv, ",%.5f,%.5f,%.5f,%u,%.6f,%.3f", sqy_receipt_rms_sigma(receipt), receipt->max_sigma,
            sqy_receipt_rms(receipt), receipt->max_error,
            receipt->voxels > 0 ? (double)receipt->within_sigma / (double)receipt->voxels : 0,
            sqy_receipt_psnr(receipt));
}

static void csv_row(FILE *csv, const char *volume, size_t bytes, const struct lossy_row *row,
                    const struct lossy_measure *m, unsigned threads)
{
    csv_text(csv, volume);
    putc(',', csv);
    csv_text(csv, row->series);
    fprintf(csv, ",%g,", row->setting);
    csv_text(csv, row->pipeline);
    putc(',', csv);
    csv_text(csv, m->skipped);
    fprintf(csv, ",%zu,%llu,%.4f,%u,%u", bytes, (unsigned long long)m->coded, m->ratio, m->n_rounds,
            threads);
    csv_speed(csv, &m->encode);
    csv_speed(csv, &m->decode);
    csv_speed(csv, &m->encode_all);
    csv_speed(csv, &m->decode_all);
    csv_errors(csv, &m->receipt);
    fprintf(csv, ",%.5f", m->capped);
}

void lossy_report_csv(FILE *csv, const struct volume *volume, const struct sqy_noise *noise,
                      const struct lossy_rows *rows, const struct lossy_measure *measures,
                      unsigned threads)
{
    static const struct sqy_noise none = {.offset = NAN, .gain = NAN, .read = NAN};
    const struct sqy_noise *model = noise != NULL ? noise : &none;
    for (unsigned i = 0; i < rows->n; i++) {
        csv_row(csv, volume->name, planes_bytes(&volume->planes), &rows->list[i], &measures[i],
                threads);
        fprintf(csv, ",%.4f,%.6f,%.4f\n", model->offset, model->gain, model->read);
    }
    fflush(csv);
}
