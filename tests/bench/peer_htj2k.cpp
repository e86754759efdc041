/* JPEG 2000 with the fast block coder, reversible. In C++, as its library is. */
#include "peer.h"

#include <cerrno>
#include <cstring>
#include <exception>

#include <openjph/ojph_arch.h>
#include <openjph/ojph_codestream.h>
#include <openjph/ojph_file.h>
#include <openjph/ojph_mem.h>
#include <openjph/ojph_params.h>

static size_t bound(const peer *, void *, const peer_image *image)
{
    return image->bytes * 2 + 65536;
}

static void describe(ojph::codestream &stream, const peer_image *image)
{
    ojph::param_siz size = stream.access_siz();
    size.set_image_extent(ojph::point(image->width, image->rows));
    size.set_num_components(1);
    size.set_component(0, ojph::point(1, 1), 16, false);
    ojph::param_cod coding = stream.access_cod();
    coding.set_num_decomposition(5);
    coding.set_block_dims(64, 64);
    coding.set_reversible(true);
    coding.set_color_transform(false);
    stream.set_planar(false);
}

static ssize_t encode_plane(const peer_image *image, void *out, size_t cap)
{
    ojph::codestream stream;
    ojph::mem_outfile file;
    describe(stream, image);
    file.open(image->bytes);
    stream.write_headers(&file);
    ojph::ui32 component;
    ojph::line_buf *line = stream.exchange(nullptr, component);
    const uint16_t *row = image->voxels;
    for (uint32_t y = 0; y < image->rows; y++, row += image->width) {
        for (uint32_t x = 0; x < image->width; x++)
            line->i32[x] = row[x];
        line = stream.exchange(line, component);
    }
    stream.flush();
    size_t len = static_cast<size_t>(file.tell());
    if (len <= cap)
        std::memcpy(out, file.get_data(), len);
    stream.close();
    return len <= cap ? static_cast<ssize_t>(len) : -ENOSPC;
}

static int decode_plane(const void *coded, size_t len, const peer_image *image, uint16_t *out)
{
    ojph::codestream stream;
    ojph::mem_infile file;
    file.open(static_cast<const ojph::ui8 *>(coded), len);
    stream.read_headers(&file);
    stream.set_planar(false);
    stream.create();
    for (uint32_t y = 0; y < image->rows; y++, out += image->width) {
        ojph::ui32 component;
        const ojph::line_buf *line = stream.pull(component);
        for (uint32_t x = 0; x < image->width; x++)
            out[x] = static_cast<uint16_t>(line->i32[x]);
    }
    stream.close();
    return 0;
}

static ssize_t encode(const peer *, void *, const peer_image *image, void *out, size_t cap)
{
    try {
        return encode_plane(image, out, cap);
    } catch (const std::exception &) {
        return -EIO;
    }
}

static int decode(const peer *, void *, const void *coded, size_t len, const peer_image *image,
                  uint16_t *out)
{
    try {
        return decode_plane(coded, len, image, out);
    } catch (const std::exception &) {
        return -EBADMSG;
    }
}

const peer peers_htj2k[] = {
    {"HTJ2K (OpenJPH)", true, 0, 0, nullptr, nullptr, nullptr, bound, encode, decode},
    {nullptr, false, 0, 0, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr},
};
