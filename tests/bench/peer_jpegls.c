#include "peer.h"

#include <charls/charls.h>
#include <errno.h>

/* Noise can grow a little. */
static size_t bound(const struct peer *peer, void *state, const struct peer_image *image)
{
    (void)peer, (void)state;
    return image->bytes * 2 + 4096;
}

static ssize_t encode(const struct peer *peer, void *state, const struct peer_image *image,
                      void *out, size_t cap)
{
    (void)peer, (void)state;
    charls_frame_info frame = {image->width, image->rows, 16, 1};
    charls_jpegls_encoder *encoder = charls_jpegls_encoder_create();
    if (encoder == NULL)
        return -ENOMEM;
    size_t len = 0;
    charls_jpegls_errc error = charls_jpegls_encoder_set_frame_info(encoder, &frame);
    if (error == 0)
        error = charls_jpegls_encoder_set_destination_buffer(encoder, out, cap);
    if (error == 0)
        error = charls_jpegls_encoder_encode_from_buffer(encoder, image->voxels, image->bytes, 0);
    if (error == 0)
        error = charls_jpegls_encoder_get_bytes_written(encoder, &len);
    charls_jpegls_encoder_destroy(encoder);
    return error == 0 ? (ssize_t)len : -EIO;
}

static int decode(const struct peer *peer, void *state, const void *coded, size_t len,
                  const struct peer_image *image, uint16_t *out)
{
    (void)peer, (void)state;
    charls_jpegls_decoder *decoder = charls_jpegls_decoder_create();
    if (decoder == NULL)
        return -ENOMEM;
    charls_jpegls_errc error = charls_jpegls_decoder_set_source_buffer(decoder, coded, len);
    if (error == 0)
        error = charls_jpegls_decoder_read_header(decoder);
    if (error == 0)
        error = charls_jpegls_decoder_decode_to_buffer(decoder, out, image->bytes, 0);
    charls_jpegls_decoder_destroy(decoder);
    return error == 0 ? 0 : -EBADMSG;
}

const struct peer peers_jpegls[] = {
    {.name = "JPEG-LS (CharLS)",
     .planes = true,
     .bound = bound,
     .encode = encode,
     .decode = decode},
    {.name = NULL},
};
