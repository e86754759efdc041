/* Estimating a camera's noise: not there yet. */
#include "codec/stage.h"

#include <errno.h>

int sqy_noise_fit_create(struct sqy_noise_fit **out)
{
    (void)out;
    return -ENOTSUP;
}

void sqy_noise_fit_free(struct sqy_noise_fit **fit)
{
    *fit = NULL;
}

int sqy_noise_fit_add(struct sqy_noise_fit *fit, const struct sqy_box *box, const void *voxels)
{
    (void)fit, (void)box, (void)voxels;
    return -ENOTSUP;
}

int sqy_noise_fit_end(const struct sqy_noise_fit *fit, struct sqy_noise *out)
{
    (void)fit, (void)out;
    return -ENODATA;
}
