/* Times coders of others on messages that `codec --save` kept. Calls their public functions;
 * their sources are the user's own checkouts (README.md). One line of output a coder:
 * coder, path, lanes, ns to encode all messages, ns to decode them, mean bytes. */
#define _POSIX_C_SOURCE 200809L
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "rANS_static4x16.h"
#define FSE_STATIC_LINKING_ONLY
#include "fse.h"
#define HUF_STATIC_LINKING_ONLY
#include "huf.h"

#define MAX_ROUNDS 99
#define FSE_LOG 12
#define HUF_LOG 11

static uint32_t count, length, alphabet;
static uint8_t *messages, *decoded, *coded;
static size_t *sizes, room;

static FSE_CTable *fse_encoder;
static FSE_DTable *fse_decoder;
static HUF_CElt *huf_encoder;
HUF_CREATE_STATIC_DTABLEX2(huf_decoder, HUF_LOG);

static void fail(const char *what) {
    fprintf(stderr, "peers: %s\n", what);
    exit(1);
}

static double now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

/* Each returns bytes written, 0 where the coder gives up. */
static size_t rans_encode(const uint8_t *in, uint8_t *out, int order) {
    unsigned int size = (unsigned int)room;
    if (!rans_compress_to_4x16((unsigned char *)in, length, out, &size, order)) return 0;
    return size;
}

static int rans_decode(const uint8_t *in, size_t size, uint8_t *out) {
    unsigned int found = length;
    return rans_uncompress_to_4x16((unsigned char *)in, (unsigned int)size, out, &found) != NULL;
}

struct coder {
    const char *name, *path;
    int lanes, kind, order, cpu;
};

enum { RANS, FSE, HUF };

static const struct coder coders[] = {
    {"htscodecs-rans4x16", "scalar", 4, RANS, 0, 0},
    {"htscodecs-rans32x16", "scalar", 32, RANS, RANS_ORDER_X32, 0},
    {"htscodecs-rans32x16", "avx2", 32, RANS, RANS_ORDER_X32, RANS_CPU_ENC_AVX2 | RANS_CPU_DEC_AVX2},
    {"htscodecs-rans32x16", "avx512", 32, RANS, RANS_ORDER_X32,
     RANS_CPU_ENC_AVX512 | RANS_CPU_DEC_AVX512},
    {"fse-static", "scalar", 2, FSE, 0, 0},
    {"huff0-static", "scalar", 4, HUF, 0, 0},
};
#define CODERS (sizeof(coders) / sizeof(coders[0]))

static size_t encode(const struct coder *coder, const uint8_t *in, uint8_t *out) {
    size_t size;
    switch (coder->kind) {
    case RANS:
        return rans_encode(in, out, coder->order);
    case FSE:
        size = FSE_compress_usingCTable(out, room, in, length, fse_encoder);
        return FSE_isError(size) ? 0 : size;
    default:
        size = HUF_compress4X_usingCTable(out, room, in, length, huf_encoder);
        return HUF_isError(size) ? 0 : size;
    }
}

static int decode(const struct coder *coder, const uint8_t *in, size_t size, uint8_t *out) {
    switch (coder->kind) {
    case RANS:
        return rans_decode(in, size, out);
    case FSE:
        return FSE_decompress_usingDTable(out, length, in, size, fse_decoder) == length;
    default:
        return HUF_decompress4X_usingDTable(out, length, in, size, huf_decoder) == length;
    }
}

static void read_messages(const char *path) {
    FILE *file = fopen(path, "rb");
    uint32_t head[3];
    if (!file || fread(head, 4, 3, file) != 3) fail("no messages");
    count = head[0];
    length = head[1];
    alphabet = head[2];
    if (!count || !length || !alphabet || alphabet > 256) fail("a strange header");
    double *shares = calloc(alphabet + 2, sizeof(double));
    size_t total = (size_t)count * length;
    messages = malloc(total);
    if (fread(shares, sizeof(double), alphabet + 2, file) != alphabet + 2) fail("no shares");
    if (fread(messages, 1, total, file) != total) fail("messages are missing");
    fclose(file);

    unsigned counts[256] = {0};
    unsigned sum = 0;
    for (uint32_t at = 0; at < alphabet; at++) {
        counts[at] = (unsigned)(shares[at] * 1e7) + 1;
        sum += counts[at];
    }
    short normalized[256];
    unsigned most = alphabet - 1;
    if (FSE_isError(FSE_normalizeCount(normalized, FSE_LOG, counts, sum, most))) fail("FSE counts");
    fse_encoder = FSE_createCTable(most, FSE_LOG);
    fse_decoder = FSE_createDTable(FSE_LOG);
    if (FSE_isError(FSE_buildCTable(fse_encoder, normalized, most, FSE_LOG))) fail("FSE table");
    if (FSE_isError(FSE_buildDTable(fse_decoder, normalized, most, FSE_LOG))) fail("FSE table");
    huf_encoder = malloc(HUF_CTABLE_SIZE(255));
    size_t bits = HUF_buildCTable(huf_encoder, counts, most, HUF_LOG);
    if (HUF_isError(bits)) fail("huff0 table");
    uint8_t header[512];
    size_t size = HUF_writeCTable(header, sizeof header, huf_encoder, most, (unsigned)bits);
    if (HUF_isError(size) || HUF_isError(HUF_readDTableX2(huf_decoder, header, size)))
        fail("huff0 table");
    free(shares);
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The lower quartile, as in the runner of our own coders. */
static double quartile(double *times, int rounds) {
    qsort(times, (size_t)rounds, sizeof(double), by_value);
    return times[(rounds - 1 + 2) / 4];
}

static int is_right(const struct coder *coder, size_t *bytes) {
    rans_set_cpu(coder->cpu);
    *bytes = 0;
    for (uint32_t at = 0; at < count; at++) {
        const uint8_t *in = messages + (size_t)at * length;
        size_t size = encode(coder, in, coded);
        if (!size || !decode(coder, coded, size, decoded)) return 0;
        if (memcmp(decoded, in, length)) fail("a coder does not give a message back");
        *bytes += size;
    }
    return 1;
}

int main(int arguments, char **argument) {
    int rounds = arguments > 2 ? atoi(argument[2]) : 11;
    if (arguments < 2 || rounds < 1 || rounds > MAX_ROUNDS) fail("MESSAGES [ROUNDS]");
    read_messages(argument[1]);
    room = (size_t)rans_compress_bound_4x16(length, RANS_ORDER_X32) + 4 * length + 1024;
    coded = malloc(room * count);
    decoded = malloc(length);
    sizes = calloc(count, sizeof(size_t));
    static double times[CODERS][2][MAX_ROUNDS];
    size_t bytes[CODERS];
    int works[CODERS];
    for (size_t index = 0; index < CODERS; index++)
        works[index] = is_right(&coders[index], &bytes[index]);
    /* Every round runs every coder once. */
    for (int round = 0; round < rounds; round++) {
        for (size_t index = 0; index < CODERS; index++) {
            const struct coder *coder = &coders[index];
            if (!works[index]) continue;
            /* Asks the processor what it is, which takes long in a virtual machine. */
            rans_set_cpu(coder->cpu);
            double begin = now_ns();
            for (uint32_t at = 0; at < count; at++)
                sizes[at] = encode(coder, messages + (size_t)at * length, coded + at * room);
            double middle = now_ns();
            for (uint32_t at = 0; at < count; at++) decode(coder, coded + at * room, sizes[at], decoded);
            times[index][0][round] = middle - begin;
            times[index][1][round] = now_ns() - middle;
        }
    }
    for (size_t index = 0; index < CODERS; index++) {
        const struct coder *coder = &coders[index];
        if (!works[index]) continue;
        printf("%s %s %d %.0f %.0f %.3f\n", coder->name, coder->path, coder->lanes,
               quartile(times[index][0], rounds), quartile(times[index][1], rounds),
               (double)bytes[index] / count);
    }
    return 0;
}
