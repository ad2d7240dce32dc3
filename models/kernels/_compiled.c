/* The compiled twins of the kernels in this folder: each gives the bits its twin in numpy gives.

   A function takes objects with the buffer protocol (numpy arrays, bytes), checks their sizes, lets go of the interpreter's
   lock, and fills the arrays it was given. Nothing is read or written outside of them, whatever they hold. Only the stable
   interface of CPython 3.11 is used, so that one file serves all later versions. */

#define Py_LIMITED_API 0x030B0000
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <float.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(__GNUC__) || defined(__clang__)
#define ALWAYS_INLINE static inline __attribute__((always_inline))
#else
#define ALWAYS_INLINE static inline
#endif

#if defined(__x86_64__) && defined(__GNUC__)
#define HAS_SSE42 1
#define SSE42 __attribute__((target("sse4.2")))
#include <nmmintrin.h>
#endif

/* Loops that are worth compiling for wide vectors, too; the same bits come out of both. */
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && defined(__GLIBC__)
#define VECTORS __attribute__((target_clones("avx2", "default")))
#else
#define VECTORS
#endif

/* -- arguments ---------------------------------------------------------------------------------------------------------- */

enum { READ = PyBUF_SIMPLE, WRITE = PyBUF_WRITABLE };

/* An array of `count` items of type T that a function may read, or write. */
#define ITEMS(view, T) ((T *)(view).buf)
#define COUNT(view, T) ((view).len / (Py_ssize_t)sizeof(T))

/* Get `count` contiguous buffers, all or none: what cannot be had is an exception. */
static int get_views(PyObject *const *objects, Py_buffer *views, const int *kinds, int count)
{
    for (int i = 0; i < count; i++)
        if (PyObject_GetBuffer(objects[i], &views[i], kinds[i]) < 0) {
            while (i--)
                PyBuffer_Release(&views[i]);
            return -1;
        }
    return 0;
}

static void release_views(Py_buffer *views, int count)
{
    while (count--)
        PyBuffer_Release(&views[count]);
}

static PyObject *refused(const char *why)
{
    PyErr_SetString(PyExc_ValueError, why);
    return NULL;
}

/* Numbers of event files are little endian, at any byte. */
static inline uint32_t u32_at(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static inline uint64_t u64_at(const uint8_t *p)
{
    return (uint64_t)u32_at(p) | (uint64_t)u32_at(p + 4) << 32;
}

/* -- checksums ---------------------------------------------------------------------------------------------------------- */

static uint32_t crc_table[8][256];

static void make_crc_table(void)
{
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t crc = byte;
        for (int bit = 0; bit < 8; bit++)
            crc = crc & 1 ? (crc >> 1) ^ 0x82F63B78u : crc >> 1;
        crc_table[0][byte] = crc;
    }
    for (int behind = 1; behind < 8; behind++)
        for (int byte = 0; byte < 256; byte++) {
            uint32_t crc = crc_table[behind - 1][byte];
            crc_table[behind][byte] = (crc >> 8) ^ crc_table[0][crc & 0xFF];
        }
}

static uint32_t crc_of_tables(const uint8_t *p, size_t n)
{
    uint32_t crc = 0xFFFFFFFFu;
    for (; n >= 8; n -= 8, p += 8) {
        uint32_t low = crc ^ u32_at(p), high = u32_at(p + 4);
        crc = crc_table[7][low & 0xFF] ^ crc_table[6][low >> 8 & 0xFF] ^ crc_table[5][low >> 16 & 0xFF] ^
              crc_table[4][low >> 24] ^ crc_table[3][high & 0xFF] ^ crc_table[2][high >> 8 & 0xFF] ^
              crc_table[1][high >> 16 & 0xFF] ^ crc_table[0][high >> 24];
    }
    for (; n; n--, p++)
        crc = (crc >> 8) ^ crc_table[0][(crc ^ *p) & 0xFF];
    return ~crc;
}

#ifdef HAS_SSE42
SSE42 static uint32_t crc_of_sse42(const uint8_t *p, size_t n)
{
    uint64_t crc = 0xFFFFFFFFu;
    for (; n >= 8; n -= 8, p += 8)
        crc = _mm_crc32_u64(crc, u64_at(p));
    uint32_t rest = (uint32_t)crc;
    if (n & 4) {
        rest = _mm_crc32_u32(rest, u32_at(p));
        p += 4;
    }
    if (n & 2) {
        rest = _mm_crc32_u16(rest, (uint16_t)(p[0] | p[1] << 8));
        p += 2;
    }
    return ~(n & 1 ? _mm_crc32_u8(rest, *p) : rest);
}
#endif

/* Chosen when the module is loaded: by the processor's instruction where it has one. */
static uint32_t (*crc_of)(const uint8_t *, size_t) = crc_of_tables;
static int has_sse42;

static void choose_crc(int tables)
{
    has_sse42 = 0;
    crc_of = crc_of_tables;
#ifdef HAS_SSE42
    __builtin_cpu_init();
    has_sse42 = !tables && __builtin_cpu_supports("sse4.2");
    if (has_sse42)
        crc_of = crc_of_sse42;
#endif
}

/* A checksum as records carry it. */
ALWAYS_INLINE uint32_t masked(uint32_t crc)
{
    return ((crc >> 15) | (crc << 17)) + 0xA282EAD8u;
}

/* are_sound(buffer: uint8, starts: int64, lengths: int64, sound: bool) */
static PyObject *are_sound(PyObject *self, PyObject *args)
{
    PyObject *objects[4];
    Py_buffer views[4];
    if (!PyArg_ParseTuple(args, "OOOO", &objects[0], &objects[1], &objects[2], &objects[3]) ||
        get_views(objects, views, (const int[]){READ, READ, READ, WRITE}, 4) < 0)
        return NULL;
    const uint8_t *bytes = views[0].buf;
    const int64_t size = views[0].len, *starts = views[1].buf, *lengths = views[2].buf;
    uint8_t *sound = views[3].buf;
    Py_ssize_t count = views[3].len;
    int fits = COUNT(views[1], int64_t) == count && COUNT(views[2], int64_t) == count;
    Py_BEGIN_ALLOW_THREADS
    for (Py_ssize_t i = 0; fits && i < count; i++) {
        int64_t at = starts[i], length = lengths[i];
        fits = at >= 0 && length >= 0 && length <= size - 4 && at <= size - 4 - length;
        if (fits)
            sound[i] = masked(crc_of(bytes + at, (size_t)length)) == u32_at(bytes + at + length);
    }
    Py_END_ALLOW_THREADS
    release_views(views, 4);
    return fits ? Py_NewRef(Py_None) : refused("a payload is not within the buffer");
}

/* use_tables(bool): whether checksums are computed without the processor's instruction, for the tests */
static PyObject *use_tables(PyObject *self, PyObject *wanted)
{
    int tables = PyObject_IsTrue(wanted);
    if (tables < 0)
        return NULL;
    choose_crc(tables);
    Py_RETURN_NONE;
}

/* -- rows of event files ------------------------------------------------------------------------------------------------ */

enum { HEADER = 12, FOOTER = 4 };

/* The form of rows, as `event_rows.Form` has it. */
typedef struct {
    const uint8_t *row, *fixed;
    size_t width;
    const int64_t *begins, *ends;
    Py_ssize_t records;
} Form;

ALWAYS_INLINE Py_ssize_t rows_alike_by(uint32_t (*crc)(const uint8_t *, size_t), const uint8_t *at, Py_ssize_t most,
                                       const Form *form)
{
    for (Py_ssize_t row = 0; row < most; row++, at += form->width) {
        uint8_t differs = 0;
        for (size_t i = 0; i < form->width; i++)
            differs |= (uint8_t)((at[i] ^ form->row[i]) & form->fixed[i]);
        if (differs)
            return row;
        for (Py_ssize_t i = 0; i < form->records; i++) {
            int64_t begin = form->begins[i], end = form->ends[i];
            if (masked(crc(at + begin, (size_t)(end - begin))) != u32_at(at + end))
                return row;
        }
    }
    return most;
}

static Py_ssize_t rows_alike_portable(const uint8_t *at, Py_ssize_t most, const Form *form)
{
    return rows_alike_by(crc_of_tables, at, most, form);
}

#ifdef HAS_SSE42
SSE42 static Py_ssize_t rows_alike_sse42(const uint8_t *at, Py_ssize_t most, const Form *form)
{
    return rows_alike_by(crc_of_sse42, at, most, form);
}
#endif

/* rows_alike(buffer: uint8, at, end, row: uint8, fixed: uint8, begins: int64, ends: int64) -> int */
static PyObject *rows_alike(PyObject *self, PyObject *args)
{
    PyObject *objects[5];
    Py_buffer views[5];
    Py_ssize_t at, end;
    if (!PyArg_ParseTuple(args, "OnnOOOO", &objects[0], &at, &end, &objects[1], &objects[2], &objects[3], &objects[4]) ||
        get_views(objects, views, (const int[]){READ, READ, READ, READ, READ}, 5) < 0)
        return NULL;
    Form form = {views[1].buf, views[2].buf, (size_t)views[1].len, views[3].buf, views[4].buf, COUNT(views[3], int64_t)};
    int fits = at >= 0 && end <= views[0].len && views[1].len > 0 && views[2].len == views[1].len &&
               views[4].len == views[3].len;
    for (Py_ssize_t i = 0; fits && i < form.records; i++)
        fits = 0 <= form.begins[i] && form.begins[i] <= form.ends[i] && form.ends[i] <= views[1].len - FOOTER;
    Py_ssize_t count = 0;
    if (fits && at < end) {
        const uint8_t *first = (const uint8_t *)views[0].buf + at;
        Py_ssize_t most = (end - at) / views[1].len;
        Py_BEGIN_ALLOW_THREADS
#ifdef HAS_SSE42
        count = has_sse42 ? rows_alike_sse42(first, most, &form) : rows_alike_portable(first, most, &form);
#else
        count = rows_alike_portable(first, most, &form);
#endif
        Py_END_ALLOW_THREADS
    }
    release_views(views, 5);
    return fits ? PyLong_FromSsize_t(count) : refused("a row does not fit its form");
}

/* items(rows: uint8, width, places: int64, size, out): the `size` bytes at each of some places of every row, by place */
static PyObject *items(PyObject *self, PyObject *args)
{
    PyObject *objects[3];
    Py_buffer views[3];
    Py_ssize_t width, size;
    if (!PyArg_ParseTuple(args, "OnOnO", &objects[0], &width, &objects[1], &size, &objects[2]) ||
        get_views(objects, views, (const int[]){READ, READ, WRITE}, 3) < 0)
        return NULL;
    const uint8_t *from = views[0].buf;
    const int64_t *places = views[1].buf;
    uint8_t *out = views[2].buf;
    Py_ssize_t wanted = COUNT(views[1], int64_t), rows = width > 0 ? views[0].len / width : 0;
    int fits = width > 0 && (size == 1 || size == 4 || size == 8) && rows * width == views[0].len &&
               views[2].len == rows * wanted * size;
    for (Py_ssize_t i = 0; fits && i < wanted; i++)
        fits = 0 <= places[i] && places[i] <= width - size;
    if (fits) {
        Py_BEGIN_ALLOW_THREADS
        for (Py_ssize_t row = 0; row < rows; row++, from += width)
            for (Py_ssize_t i = 0; i < wanted; i++) {
                uint8_t *to = out + (i * rows + row) * size;
                if (size == 4)
                    memcpy(to, from + places[i], 4);
                else if (size == 8)
                    memcpy(to, from + places[i], 8);
                else
                    *to = from[places[i]];
            }
        Py_END_ALLOW_THREADS
    }
    release_views(views, 3);
    return fits ? Py_NewRef(Py_None) : refused("an item is not within its row");
}

/* common_steps(rows: uint8, width, places: int64, bytes, steps: int64) -> bool

   The varint of `bytes` bytes at each of some places of every row; False where these are not the same in a row. */
static PyObject *common_steps(PyObject *self, PyObject *args)
{
    PyObject *objects[3];
    Py_buffer views[3];
    Py_ssize_t width, bytes;
    if (!PyArg_ParseTuple(args, "OnOnO", &objects[0], &width, &objects[1], &bytes, &objects[2]) ||
        get_views(objects, views, (const int[]){READ, READ, WRITE}, 3) < 0)
        return NULL;
    const uint8_t *from = views[0].buf;
    const int64_t *places = views[1].buf;
    uint64_t *steps = views[2].buf;
    Py_ssize_t wanted = COUNT(views[1], int64_t), rows = COUNT(views[2], int64_t);
    int fits = width > 0 && rows <= views[0].len / width && rows * width == views[0].len && 0 <= bytes && bytes <= 10 &&
               wanted > 0;
    int same = 1, in_words = bytes <= 8;
    for (Py_ssize_t i = 0; fits && i < wanted; i++) {
        fits = 0 <= places[i] && places[i] <= width - bytes;
        in_words &= places[i] <= width - 8;
    }
    const uint64_t own = fits && bytes < 8 ? ((uint64_t)1 << 8 * bytes) - 1 : UINT64_MAX;
    if (fits) {
        Py_BEGIN_ALLOW_THREADS
        for (Py_ssize_t row = 0; same && row < rows; row++, from += width) {
            const uint8_t *first = from + places[0];
            uint64_t step = 0, differs = 0;
            for (Py_ssize_t i = 0; i < bytes; i++)
                step |= (uint64_t)(first[i] & 0x7F) << 7 * i;
            steps[row] = step;
            if (in_words) {
                uint64_t word = u64_at(first);
                for (Py_ssize_t k = 1; k < wanted; k++)
                    differs |= (word ^ u64_at(from + places[k])) & own;
            } else
                for (Py_ssize_t k = 1; k < wanted; k++)
                    for (Py_ssize_t i = 0; i < bytes; i++)
                        differs |= (uint64_t)(first[i] ^ from[places[k] + i]);
            same = !differs;
        }
        Py_END_ALLOW_THREADS
    }
    release_views(views, 3);
    return fits ? PyBool_FromLong(same) : refused("a step is not within its row");
}

/* near(times: float64, first, tolerance, found: bool): which rows are everywhere as near to one of them */
static PyObject *near(PyObject *self, PyObject *args)
{
    PyObject *objects[2];
    Py_buffer views[2];
    Py_ssize_t first;
    double tolerance;
    if (!PyArg_ParseTuple(args, "OndO", &objects[0], &first, &tolerance, &objects[1]) ||
        get_views(objects, views, (const int[]){READ, WRITE}, 2) < 0)
        return NULL;
    const double *times = views[0].buf;
    uint8_t *found = views[1].buf;
    Py_ssize_t rows = views[1].len, columns = rows ? COUNT(views[0], double) / rows : 0;
    int fits = rows * columns == COUNT(views[0], double) && 0 <= first && first < rows;
    if (fits) {
        const double *own = times + first * columns;
        Py_BEGIN_ALLOW_THREADS
        for (Py_ssize_t row = 0; row < rows; row++, times += columns) {
            Py_ssize_t beyond = 0;
            for (Py_ssize_t i = 0; i < columns; i++)
                beyond += !(fabs(times[i] - own[i]) <= tolerance);
            found[row] = !beyond;
        }
        Py_END_ALLOW_THREADS
    }
    release_views(views, 2);
    return fits ? Py_NewRef(Py_None) : refused("there is no such row");
}

/* -- the chain of records of an event file ------------------------------------------------------------------------------- */

/* chain(buffer: uint8, size, starts: int64, lengths: int64) -> (records, end, is_broken, length of an incomplete one or -1) */
static PyObject *chain(PyObject *self, PyObject *args)
{
    PyObject *objects[3];
    Py_buffer views[3];
    Py_ssize_t size;
    if (!PyArg_ParseTuple(args, "OnOO", &objects[0], &size, &objects[1], &objects[2]) ||
        get_views(objects, views, (const int[]){READ, WRITE, WRITE}, 3) < 0)
        return NULL;
    const uint8_t *bytes = views[0].buf;
    int64_t *starts = views[1].buf, *lengths = views[2].buf;
    Py_ssize_t room = COUNT(views[1], int64_t), count = 0, here = 0;
    int fits = 0 <= size && size <= views[0].len && views[2].len == views[1].len && room >= size / (HEADER + FOOTER);
    int is_broken = 0, is_incomplete = 0;
    uint64_t length = 0;
    if (fits) {
        Py_BEGIN_ALLOW_THREADS
        while (here <= size - HEADER) {
            if (masked(crc_of(bytes + here, 8)) != u32_at(bytes + here + 8)) {
                is_broken = 1;
                break;
            }
            length = u64_at(bytes + here);
            Py_ssize_t left = size - here - HEADER - FOOTER;
            if (left < 0 || length > (uint64_t)left) {
                is_incomplete = 1;
                break;
            }
            starts[count] = here + HEADER;
            lengths[count++] = (int64_t)length;
            here += HEADER + (Py_ssize_t)length + FOOTER;
        }
        Py_END_ALLOW_THREADS
    }
    release_views(views, 3);
    if (!fits)
        return refused("there is no room for the records");
    PyObject *needs = is_incomplete ? PyLong_FromUnsignedLongLong(length) : PyLong_FromLong(-1);
    return needs ? Py_BuildValue("nnNN", count, here, PyBool_FromLong(is_broken), needs) : NULL;
}

/* -- scalars of event files ---------------------------------------------------------------------------------------------- */

/* The part of a message that is left to be read. What a function here does not know from beginning to end it calls unusual:
   the exact decoder in Python then reads the record. */
typedef struct {
    const uint8_t *at, *end;
} Message;

ALWAYS_INLINE int read_varint(Message *from, uint64_t *value)
{
    *value = 0;
    for (int shift = 0; shift < 70 && from->at < from->end; shift += 7) {
        uint8_t byte = *from->at++;
        *value |= (uint64_t)(byte & 0x7F) << shift;
        if (byte < 0x80)
            return 1;
    }
    return 0;
}

/* Read a field: give its key, 0 where it is unusual. `value` is that of a varint, `content` the bytes of all others. */
ALWAYS_INLINE int read_field(Message *from, uint64_t *value, Message *content)
{
    int key = *from->at++;
    size_t size;
    *value = 0;
    content->at = content->end = from->at;
    switch (key & 7) {
    case 0:
        return key < 0x80 && read_varint(from, value) ? key : 0;
    case 1:
        size = 8;
        break;
    case 5:
        size = 4;
        break;
    case 2:
        if (!read_varint(from, value) || *value > (uint64_t)(from->end - from->at))
            return 0;
        size = (size_t)*value;
        break;
    default:
        return 0;
    }
    if (key >= 0x80 || size > (size_t)(from->end - from->at))
        return 0;
    content->at = from->at;
    content->end = from->at += size;
    return key;
}

/* Whether all of a `TensorProto` is read: `single` is its float32, NULL where it holds no scalar. */
static int read_tensor(Message tensor, const uint8_t **single)
{
    uint64_t value, dtype = 0;
    int rank = 0;
    Message content, held = {NULL, NULL};
    *single = NULL;
    while (tensor.at < tensor.end)
        switch (read_field(&tensor, &value, &content)) {
        case 0:
            return 0;
        case 0x08: /* dtype */
            dtype = value;
            break;
        case 0x12: /* tensor_shape: dim, unknown_rank */
            rank = 0;
            while (content.at < content.end) {
                Message inner;
                int key = read_field(&content, &value, &inner);
                if (!key)
                    return 0;
                rank += key >> 3 == 2 || key >> 3 == 3;
            }
            break;
        case 0x22: /* tensor_content */
        case 0x2A: /* float_val, packed or not */
        case 0x2D:
            if (content.at == content.end)
                break;
            if (held.at)
                return 0;
            held = content;
            break;
        case 0x18: /* version_number */
        case 0x42: /* string_val */
            break;
        default:
            return 0;
        }
    if (rank)
        return 1;
    if (dtype != 1 || !held.at)
        return 0;
    *single = held.end - held.at >= 4 ? held.at : NULL;
    return 1;
}

/* Whether all of a `SummaryMetadata` is read, and it is not of the plug-in for hyperparameters. */
static int read_metadata(Message metadata)
{
    uint64_t value;
    Message plugin, content;
    while (metadata.at < metadata.end) {
        int key = read_field(&metadata, &value, &plugin);
        if (!key)
            return 0;
        while (key == 0x0A && plugin.at < plugin.end) {
            int inner = read_field(&plugin, &value, &content);
            if (!inner || (inner == 0x0A && content.end - content.at == 7 && !memcmp(content.at, "hparams", 7)))
                return 0;
        }
    }
    return 1;
}

/* What became of a record. */
enum { DECODED, DAMAGED, UNUSUAL, NO_MEMORY };

/* Tags, numbered in the order they are met. A tag mostly comes behind the one it came behind before. */
typedef struct {
    const uint8_t *bytes;
    int64_t *starts, *lengths; /* of each tag, in the buffer */
    int32_t *after, *slots;
    uint32_t mask;
    Py_ssize_t count, most;
    int32_t last;
} Tags;

ALWAYS_INLINE int is_tag(const Tags *tags, int32_t code, Message tag)
{
    return tags->lengths[code] == tag.end - tag.at &&
           !memcmp(tags->bytes + tags->starts[code], tag.at, (size_t)(tag.end - tag.at));
}

static uint32_t tag_slot(const Tags *tags, Message tag)
{
    uint64_t hash = 0xCBF29CE484222325u;
    for (const uint8_t *p = tag.at; p < tag.end; p++)
        hash = (hash ^ *p) * 0x100000001B3u; /* FNV-1a */
    uint32_t slot = (uint32_t)(hash ^ hash >> 32) & tags->mask;
    while (tags->slots[slot] >= 0 && !is_tag(tags, tags->slots[slot], tag))
        slot = (slot + 1) & tags->mask;
    return slot;
}

/* Make room for more tags; 0 where there is no memory. */
static int grow_tags(Tags *tags)
{
    uint32_t slots = tags->mask ? 2 * (tags->mask + 1) : 256;
    int32_t *made = malloc(slots * sizeof *made);
    int32_t *after = realloc(tags->after, slots * sizeof *after);
    if (after)
        tags->after = after;
    if (!made || !after) {
        free(made);
        return 0;
    }
    free(tags->slots);
    tags->slots = made;
    tags->mask = slots - 1;
    memset(made, 0xFF, slots * sizeof *made);
    for (int32_t code = 0; code < tags->count; code++) {
        const uint8_t *at = tags->bytes + tags->starts[code];
        made[tag_slot(tags, (Message){at, at + tags->lengths[code]})] = code;
    }
    return 1;
}

/* Give the number of a tag; what is wrong, negative, where it has none. */
static int32_t tag_code(Tags *tags, Message tag)
{
    int32_t guess = tags->count ? tags->after[tags->last] : -1;
    if (guess < 0 || !is_tag(tags, guess, tag)) {
        if (2 * (uint64_t)tags->count >= tags->mask && !grow_tags(tags))
            return -NO_MEMORY;
        uint32_t slot = tag_slot(tags, tag);
        guess = tags->slots[slot];
        if (guess < 0) {
            if (tags->count >= tags->most)
                return -UNUSUAL;
            guess = tags->slots[slot] = (int32_t)tags->count++;
            tags->starts[guess] = tag.at - tags->bytes;
            tags->lengths[guess] = tag.end - tag.at;
            tags->after[guess] = -1;
        }
        tags->after[tags->last] = guess;
    }
    return tags->last = guess;
}

/* The scalars of all records so far: number of the record, place in it, tag, value. */
typedef struct {
    int64_t *record;
    int32_t *place, *tag;
    double *value;
    Py_ssize_t count, most;
} Points;

/* Decode an `Event`: append its scalars, set its time and step. */
static int read_event(Message event, int64_t record, double *wall, int64_t *step, int64_t *scalars, Points *points, Tags *tags)
{
    uint64_t value, stepped = 0;
    int has_wall = 0, has_step = 0;
    int32_t place = 0;
    Message content, one;
    while (event.at < event.end)
        switch (read_field(&event, &value, &content)) {
        case 0:
            return UNUSUAL;
        case 0x09: { /* wall_time */
            uint64_t bits = u64_at(content.at);
            if (has_wall++)
                return UNUSUAL;
            memcpy(wall, &bits, 8);
            break;
        }
        case 0x10: /* step */
            if (has_step++)
                return UNUSUAL;
            stepped = value;
            break;
        case 0x2A: /* summary */
            while (content.at < content.end) {
                int key = read_field(&content, &value, &one);
                if (!key)
                    return UNUSUAL;
                if (key != 0x0A)
                    continue;
                Message tag = {NULL, NULL}, part;
                const uint8_t *single = NULL;
                int tensors = 0, plugins = 0;
                while (one.at < one.end) {
                    key = read_field(&one, &value, &part);
                    switch (key) {
                    case 0:
                        return UNUSUAL;
                    case 0x0A: /* tag */
                        if (tag.at)
                            return UNUSUAL;
                        tag = part;
                        break;
                    case 0x15: /* simple_value */
                        if (tensors++)
                            return UNUSUAL;
                        single = part.at;
                        break;
                    case 0x42: /* tensor */
                        if (tensors++ || !read_tensor(part, &single))
                            return UNUSUAL;
                        break;
                    case 0x4A: /* metadata */
                        if (plugins++ || !read_metadata(part))
                            return UNUSUAL;
                        break;
                    case 0x22: /* image, histo, audio */
                    case 0x2A:
                    case 0x32:
                        single = NULL;
                    }
                }
                if (!single || !tag.at)
                    continue;
                if (points->count >= points->most)
                    return UNUSUAL;
                int32_t code = tag_code(tags, tag);
                if (code < 0)
                    return -code;
                uint32_t bits = u32_at(single);
                float number;
                memcpy(&number, &bits, 4);
                points->record[points->count] = record;
                points->place[points->count] = place++;
                points->tag[points->count] = code;
                points->value[points->count++] = number;
            }
        }
    if (!has_wall)
        return UNUSUAL;
    *step = (int64_t)stepped;
    *scalars = place;
    return DECODED;
}

/* scalars(buffer: uint8, widest, starts: int64, lengths: int64, state: uint8, wall: float64, step: int64, scalars: int64,
           record: int64, place: int32, tag: int32, value: float64, tag_starts: int64, tag_lengths: int64) -> (points, tags)

   Records longer than `widest` are unusual without being looked at. */
static PyObject *scalars(PyObject *self, PyObject *args)
{
    enum { BUFFER, STARTS, LENGTHS, STATE, WALL, STEP, SCALARS, RECORD, PLACE, TAG, VALUE, TAG_STARTS, TAG_LENGTHS, ALL };
    PyObject *o[ALL];
    Py_buffer v[ALL];
    Py_ssize_t widest;
    if (!PyArg_ParseTuple(args, "OnOOOOOOOOOOOO", &o[0], &widest, &o[1], &o[2], &o[3], &o[4], &o[5], &o[6], &o[7], &o[8],
                          &o[9], &o[10], &o[11], &o[12]) ||
        get_views(o, v, (const int[]){READ, READ, READ, WRITE, WRITE, WRITE, WRITE, WRITE, WRITE, WRITE, WRITE, WRITE, WRITE},
                  ALL) < 0)
        return NULL;
    const uint8_t *bytes = v[BUFFER].buf;
    const int64_t size = v[BUFFER].len, *starts = v[STARTS].buf, *lengths = v[LENGTHS].buf;
    uint8_t *state = v[STATE].buf;
    double *wall = v[WALL].buf;
    int64_t *step = v[STEP].buf, *found = v[SCALARS].buf;
    Py_ssize_t count = v[STATE].len, most = COUNT(v[RECORD], int64_t);
    Points points = {v[RECORD].buf, v[PLACE].buf, v[TAG].buf, v[VALUE].buf, 0, most};
    Tags tags = {bytes, v[TAG_STARTS].buf, v[TAG_LENGTHS].buf, NULL, NULL, 0, 0, most, 0};
    int fits = most < INT32_MAX / 4 && v[VALUE].len == v[RECORD].len && v[TAG_STARTS].len == v[RECORD].len &&
               v[TAG_LENGTHS].len == v[RECORD].len && COUNT(v[PLACE], int32_t) == most && COUNT(v[TAG], int32_t) == most;
    for (int i = STARTS; i <= SCALARS; i++)
        fits &= i == STATE || COUNT(v[i], int64_t) == count;
    int is_full = 0;
    Py_BEGIN_ALLOW_THREADS
    for (Py_ssize_t i = 0; fits && !is_full && i < count; i++) {
        int64_t at = starts[i], length = lengths[i];
        fits = at >= 0 && length >= 0 && length <= size - FOOTER && at <= size - FOOTER - length;
        if (!fits)
            break;
        const uint8_t *payload = bytes + at;
        Py_ssize_t before = points.count;
        wall[i] = 0;
        step[i] = found[i] = 0;
        state[i] = UNUSUAL;
        if (length <= widest)
            state[i] = masked(crc_of(payload, (size_t)length)) != u32_at(payload + length)
                           ? DAMAGED
                           : (uint8_t)read_event((Message){payload, payload + length}, i, &wall[i], &step[i], &found[i],
                                                 &points, &tags);
        is_full = state[i] == NO_MEMORY;
        if (state[i] != DECODED) {
            points.count = before;
            wall[i] = 0;
        }
    }
    free(tags.slots);
    free(tags.after);
    Py_END_ALLOW_THREADS
    release_views(v, ALL);
    if (is_full)
        return PyErr_NoMemory();
    return fits ? Py_BuildValue("nn", points.count, tags.count) : refused("a record is not within the buffer");
}

/* -- strokes of curves -------------------------------------------------------------------------------------------------- */

/* Infinite and NaN are passed over; comparisons that are false for NaN stand in for tests of it. */
static inline int is_finite(double value)
{
    return value - value == 0.0;
}

/* NaN stays NaN here, and is `low` in `bounded`, whose numbers become whole ones. */
static inline double clipped(double value, double low, double high)
{
    return value < low ? low : value > high ? high : value;
}

static inline double bounded(double value, double low, double high)
{
    return value > low ? (value < high ? value : high) : low;
}

/* Round, for numbers that fit: several times as quick as the library's functions where the processor has no instruction. */
static inline int64_t floored(double value)
{
    int64_t whole = (int64_t)value;
    return whole - ((double)whole > value);
}

static inline int64_t ceiled(double value)
{
    int64_t whole = (int64_t)value;
    return whole + ((double)whole < value);
}

static inline int64_t clipped_int(int64_t value, int64_t low, int64_t high)
{
    return value < low ? low : value > high ? high : value;
}

/* NaN for all that is not finite, so that no comparison holds; without a branch, as data is unpredictable. */
static inline double finite_or_nan(double value)
{
    return value + (value - value);
}

static inline double smaller(double value, double other)
{
    return value < other ? value : other;
}

static inline double larger(double value, double other)
{
    return value > other ? value : other;
}

static inline double smallest_of(const double *values, Py_ssize_t n)
{
    double a = INFINITY, b = INFINITY, c = INFINITY, d = INFINITY;
    Py_ssize_t i = 0;
    for (; i + 4 <= n; i += 4) {
        a = smaller(finite_or_nan(values[i]), a);
        b = smaller(finite_or_nan(values[i + 1]), b);
        c = smaller(finite_or_nan(values[i + 2]), c);
        d = smaller(finite_or_nan(values[i + 3]), d);
    }
    for (; i < n; i++)
        a = smaller(finite_or_nan(values[i]), a);
    return smaller(smaller(a, b), smaller(c, d));
}

static inline double largest_of(const double *values, Py_ssize_t n)
{
    double a = -INFINITY, b = -INFINITY, c = -INFINITY, d = -INFINITY;
    Py_ssize_t i = 0;
    for (; i + 4 <= n; i += 4) {
        a = larger(finite_or_nan(values[i]), a);
        b = larger(finite_or_nan(values[i + 1]), b);
        c = larger(finite_or_nan(values[i + 2]), c);
        d = larger(finite_or_nan(values[i + 3]), d);
    }
    for (; i < n; i++)
        a = larger(finite_or_nan(values[i]), a);
    return larger(larger(a, b), larger(c, d));
}

/* block_extremes(low: double, high: double, factor, lowest: double, highest: double) */
static PyObject *block_extremes(PyObject *self, PyObject *args)
{
    PyObject *objects[4];
    Py_buffer views[4];
    Py_ssize_t factor;
    if (!PyArg_ParseTuple(args, "OOnOO", &objects[0], &objects[1], &factor, &objects[2], &objects[3]) ||
        get_views(objects, views, (const int[]){READ, READ, WRITE, WRITE}, 4) < 0)
        return NULL;
    const double *low = views[0].buf, *high = views[1].buf;
    double *lowest = views[2].buf, *highest = views[3].buf;
    Py_ssize_t n = COUNT(views[0], double), count = COUNT(views[2], double);
    int fits = factor > 0 && COUNT(views[1], double) == n && COUNT(views[3], double) == count &&
               count == n / factor + (n % factor != 0);
    Py_BEGIN_ALLOW_THREADS
    for (Py_ssize_t block = 0; fits && block < count; block++) {
        Py_ssize_t start = block * factor, length = n - start < factor ? n - start : factor;
        lowest[block] = smallest_of(low + start, length);
        highest[block] = largest_of(high + start, length);
    }
    Py_END_ALLOW_THREADS
    release_views(views, 4);
    if (!fits) {
        PyErr_SetString(PyExc_ValueError, "blocks of at least one number, of two arrays of one length");
        return NULL;
    }
    Py_RETURN_NONE;
}

enum { COLUMN_LEFT, COLUMN_BREADTH, BASE, SCALE, OFFSET, MIRRORED, START, STEP, WIDTH, PEN, PATTERN };

#define FAR_AWAY 20000.0
#define BLOCKS_IN_A_COLUMN 4
#define LONG_DASHED 6.0
#define NUMBERS 5

/* Round down what fits into 32 bits; all but the last step with one kind of number, as vectors need it. */
static inline int32_t floored_small(double value)
{
    double whole = (double)(int32_t)value;
    return (int32_t)(whole - (whole > value ? 1.0 : 0.0));
}

/* Give the first place of x, from `from` on, with a value not below `value`, n where there is none; it is looked for about
   `gap` places on. */
static Py_ssize_t first_not_below(const double *x, Py_ssize_t n, double value, Py_ssize_t from, Py_ssize_t gap)
{
    Py_ssize_t low = from, high = n, at = gap < n - from ? from + gap : n;
    for (Py_ssize_t reach = 1;; reach *= 2) { /* x below `low` is smaller, x from `high` on is not */
        if (at <= low || at > high)
            break;
        if (x[at - 1] < value) {
            low = at;
            if (at == high || reach > high - at)
                break;
            at += reach;
        } else {
            high = at - 1;
            if (reach > at - 1 - low)
                break;
            at -= reach;
        }
    }
    while (low < high) {
        Py_ssize_t middle = low + (high - low) / 2;
        if (x[middle] < value)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* Fill in where the points of each column begin, and how far from the point before to that behind its edge is; what is rounded to
   a block is given as its complement. */
static void find_edges(const double *x, Py_ssize_t n, Py_ssize_t block, const double *numbers, Py_ssize_t edges, int64_t *at,
                       double *shares)
{
    const double left = numbers[COLUMN_LEFT], breadth = numbers[COLUMN_BREADTH];
    const double start = numbers[START], step = numbers[STEP], shift = (numbers[PEN] - 1.0) / 2.0;
    Py_ssize_t found = 0, gap = 0;
    for (Py_ssize_t c = 0; c < edges; c++) {
        double edge = left + ((double)c - shift) * breadth;
        if (step > 0.0) {
            at[c] = ceiled(bounded((edge - start) / step, 0.0, (double)n));
        } else {
            Py_ssize_t next = first_not_below(x, n, edge, found, gap);
            gap = c > 0 ? next - found : 0;
            at[c] = found = next;
        }
        int64_t here = at[c];
        shares[c] = 0.0;
        if (here > 0 && here < n) {
            double from = step > 0.0 ? start + (double)(here - 1) * step : x[here - 1];
            double to = step > 0.0 ? start + (double)here * step : x[here];
            shares[c] = clipped((edge - from) / (to - from), 0.0, 1.0);
        }
    }
    int many_before = 1;
    for (Py_ssize_t c = 0; block > 1 && c < edges; c++) {
        int64_t here = at[c];
        int many = c + 1 == edges || at[c + 1] - here >= BLOCKS_IN_A_COLUMN * block;
        if (many_before && many && here > 0 && here < n) {
            int64_t rounded = (here + block / 2) & ~(int64_t)(block - 1);
            at[c] = ~(rounded < n ? rounded : n);
        }
        many_before = many;
    }
}

/* edges(x: double, points, block, numbers: double, at: int64, shares: double); x may be empty where numbers[STEP] > 0 */
static PyObject *edges(PyObject *self, PyObject *args)
{
    PyObject *objects[4];
    Py_buffer views[4];
    Py_ssize_t n, block;
    if (!PyArg_ParseTuple(args, "OnnOOO", &objects[0], &n, &block, &objects[1], &objects[2], &objects[3]) ||
        get_views(objects, views, (const int[]){READ, READ, WRITE, WRITE}, 4) < 0)
        return NULL;
    const double *numbers = views[1].buf;
    Py_ssize_t count = COUNT(views[2], int64_t);
    int fits = COUNT(views[1], double) >= PATTERN && COUNT(views[3], double) == count && n >= 0;
    fits = fits && block > 0 && !(block & (block - 1));
    fits = fits && (numbers[STEP] > 0.0 || COUNT(views[0], double) == n);
    if (fits) {
        Py_BEGIN_ALLOW_THREADS
        find_edges(views[0].buf, n, block, numbers, count, views[2].buf, views[3].buf);
        Py_END_ALLOW_THREADS
    }
    release_views(views, 4);
    if (!fits)
        return refused("one place and one share for each edge of columns, and blocks of a power of two");
    Py_RETURN_NONE;
}

/* Fill in strokes of one curve from where its columns begin. `top` and `bottom` are room for columns + pen items and one before
   them, `ends` for as many, `made` for four rows of columns. */
VECTORS static void find_strokes(const double *y, const double *low, const double *high, Py_ssize_t n, Py_ssize_t block,
                                 const int64_t *at, const double *edge_shares, const double *numbers,
                                 Py_ssize_t pattern_length, Py_ssize_t columns, double *restrict top,
                                 double *restrict bottom, double *restrict ends, double *restrict made,
                                 int32_t *restrict out)
{
    const double base = numbers[BASE], scale = numbers[SCALE], offset = numbers[OFFSET], width = numbers[WIDTH];
    const Py_ssize_t pen = (Py_ssize_t)numbers[PEN], bins = columns + pen - 1;
    int shift_of_block = 0;
    while ((Py_ssize_t)1 << shift_of_block < block)
        shift_of_block++;
    /* The value at each edge. */
    for (Py_ssize_t c = 0; c <= bins; c++) {
        int is_rounded = at[c] < 0;
        int64_t here = is_rounded ? ~at[c] : at[c];
        double one = NAN, other = NAN, share = 0.5;
        if (here <= 0 || here >= n) {
        } else if (is_rounded) {
            /* A line that rises or falls from block to block is there half way between the two; no other gets wrong. */
            int64_t block_behind = here >> shift_of_block;
            one = larger(low[block_behind - 1], low[block_behind]);
            other = smaller(high[block_behind - 1], high[block_behind]);
        } else {
            one = y[here - 1];
            other = y[here];
            share = edge_shares[c];
        }
        /* What is not finite is NaN here, and stays it. */
        ends[c] = finite_or_nan(finite_or_nan(one) + share * (finite_or_nan(other) - finite_or_nan(one)));
    }
    for (Py_ssize_t c = 0; c < bins; c++) {
        int64_t from = at[c] < 0 ? ~at[c] : at[c], to = at[c + 1] < 0 ? ~at[c + 1] : at[c + 1];
        double lowest = INFINITY, highest = -INFINITY;
        if (to > from) {
            int aligned = ((from & (block - 1)) == 0 || from == n) && ((to & (block - 1)) == 0 || to == n);
            if (block > 1 && aligned) {
                /* Extremes of blocks are no NaN, and infinite only where there is nothing. */
                int64_t first = from >> shift_of_block, last = (to + block - 1) >> shift_of_block;
                for (int64_t i = first; i < last; i++) {
                    lowest = smaller(low[i], lowest);
                    highest = larger(high[i], highest);
                }
            } else {
                lowest = smallest_of(y + from, to - from);
                highest = largest_of(y + from, to - from);
            }
        }
        top[c] = lowest;
        bottom[c] = highest;
    }
    for (Py_ssize_t c = 0; c <= bins; c++)
        ends[c] = clipped((ends[c] - base) * scale + offset, -FAR_AWAY, FAR_AWAY);
    for (Py_ssize_t c = 0; c < bins; c++) {
        double one = (top[c] - base) * scale + offset, other = (bottom[c] - base) * scale + offset;
        int there = bottom[c] >= top[c];
        double upper = there ? smaller(one, other) : INFINITY, lower = there ? larger(one, other) : -INFINITY;
        upper = smaller(ends[c + 1], smaller(ends[c], upper));
        lower = larger(ends[c + 1], larger(ends[c], lower));
        top[c] = clipped(upper, -FAR_AWAY, FAR_AWAY);
        bottom[c] = clipped(lower, -FAR_AWAY, FAR_AWAY);
    }
    for (Py_ssize_t k = 1; k < pen; k++) /* from left to right: what is behind was not changed yet by this round */
        for (Py_ssize_t c = 0; c < bins - k; c++) {
            top[c] = smaller(top[c + 1], top[c]);
            bottom[c] = larger(bottom[c + 1], bottom[c]);
        }
    top[-1] = top[columns] = INFINITY;
    bottom[-1] = bottom[columns] = -INFINITY;
    double *restrict tops = made, *restrict bottoms = made + columns;
    double *restrict fades_above = made + 2 * columns, *restrict fades_below = made + 3 * columns;
    for (Py_ssize_t c = 0; c < columns; c++) {
        double upper = top[c], lower = bottom[c];
        double size = lower >= upper ? lower - upper : 0.0, rise = fabs(ends[c + pen] - ends[c]);
        rise = rise >= 0.0 ? rise : 0.0;
        double turned = 2.0 * rise - size, slope = rise / (double)pen;
        turned = larger(turned, 0.0);
        double straight = (size > 0.0 ? turned : 1.0) / (size > 0.0 ? size : 1.0);
        double middle = (upper + lower) / 2.0, cut = width * sqrt(1.0 + slope * slope);
        /* How far the curve goes on beyond its ends beside the column. */
        double above = upper - smaller(top[c + 1], top[c - 1]), below = larger(bottom[c + 1], bottom[c - 1]) - lower;
        double doubled_above = 2.0 * larger(above, 0.0), doubled_below = 2.0 * larger(below, 0.0);
        double whole_slope = slope > 0.0 ? slope : 1.0; /* divided by itself where it is the smaller one */
        double through_above = straight * ((doubled_above < slope ? doubled_above : whole_slope) / whole_slope);
        double through_below = straight * ((doubled_below < slope ? doubled_below : whole_slope) / whole_slope);
        double length_above = through_above * cut + (1.0 - through_above) * (size + width);
        double length_below = through_below * cut + (1.0 - through_below) * (size + width);
        tops[c] = larger(smaller(middle - length_above / 2.0, FAR_AWAY), -FAR_AWAY) * 256.0;
        bottoms[c] = larger(smaller(middle + length_below / 2.0, FAR_AWAY), -FAR_AWAY) * 256.0;
        fades_above[c] = 65536.0 / larger(through_above * slope, 1.0);
        fades_below[c] = 65536.0 / larger(through_below * slope, 1.0);
    }
    for (Py_ssize_t i = 0; i < 4 * columns; i++)
        out[i] = floored_small(made[i] + 0.5);
    int32_t *restrict shares = out + 4 * columns;
    for (Py_ssize_t c = 0; c < columns; c++)
        shares[c] = bottom[c] >= top[c] ? 256 : 0;
    double whole = 0.0, drawn = 0.0;
    for (Py_ssize_t k = 0; k < pattern_length; k++) {
        whole += numbers[PATTERN + k];
        drawn += k % 2 ? 0.0 : numbers[PATTERN + k];
    }
    double sizes = 0.0;
    Py_ssize_t seen_columns = 0;
    for (Py_ssize_t c = 0; whole > 0.0 && c < columns; c++) {
        int seen = bottom[c] >= top[c];
        sizes += seen ? bottom[c] - top[c] : 0.0;
        seen_columns += seen;
    }
    if (whole > 0.0 && !(sizes > LONG_DASHED * (double)seen_columns)) {
        double travelled = 0.0, inked_before = 0.0;
        for (Py_ssize_t c = 0; c < columns; c++) {
            Py_ssize_t middle = c + (pen - 1) / 2;
            double rise = fabs(ends[middle + 1] - ends[middle]);
            rise = rise >= 0.0 ? rise : 0.0;
            double length = shares[c] ? sqrt(1.0 + rise * rise) : 0.0;
            travelled = travelled + length;
            double rounds = floor(travelled / whole), rest = travelled - rounds * whole;
            double inked = rounds * drawn, begin = 0.0;
            for (Py_ssize_t k = 0; k < pattern_length; k++) {
                if (k % 2 == 0)
                    inked = inked + clipped(rest - begin, 0.0, numbers[PATTERN + k]);
                begin += numbers[PATTERN + k];
            }
            if (shares[c])
                shares[c] = (int32_t)bounded(floor((inked - inked_before) / length * 256.0 + 0.5), 0.0, 256.0);
            inked_before = inked;
        }
    }
    if (numbers[MIRRORED] != 0.0)
        for (int row = 0; row < NUMBERS; row++)
            for (Py_ssize_t a = row * columns, b = (row + 1) * columns - 1; a < b; a++, b--) {
                int32_t kept = out[a];
                out[a] = out[b];
                out[b] = kept;
            }
}

/* Say whether all places lie within n points, and those that are rounded behind a whole block or at an end. */
static int are_places(const int64_t *at, Py_ssize_t count, int64_t n, int64_t block)
{
    int fit = 1;
    for (Py_ssize_t c = 0; c < count; c++) {
        int64_t here = at[c] < 0 ? ~at[c] : at[c];
        fit &= (here <= n) & ((at[c] >= 0) | (here >= block) | (here == 0) | (here == n));
    }
    return fit;
}

enum { OF_Y, OF_LOW, OF_HIGH, OF_PLACES, OF_SHARES, OF_NUMBERS, ARRAYS_OF_CURVE };

typedef struct {
    Py_buffer views[ARRAYS_OF_CURVE];
    Py_ssize_t block;
} Curve;

/* Get the arrays of (y: double, low: double, high: double, block, places: int64, shares: double, numbers: double), or leave an
   exception. */
static int get_curve(PyObject *item, Curve *curve)
{
    PyObject *objects[ARRAYS_OF_CURVE];
    if (item == NULL)
        return -1;
    if (!PyTuple_Check(item)) {
        PyErr_SetString(PyExc_TypeError, "a curve is a tuple");
        return -1;
    }
    if (!PyArg_ParseTuple(item, "OOOnOOO", &objects[OF_Y], &objects[OF_LOW], &objects[OF_HIGH], &curve->block,
                          &objects[OF_PLACES], &objects[OF_SHARES], &objects[OF_NUMBERS]))
        return -1;
    return get_views(objects, curve->views, (const int[]){READ, READ, READ, READ, READ, READ}, ARRAYS_OF_CURVE);
}

/* Say whether the arrays of a curve fit one another and a number of columns. */
static int is_curve(const Curve *curve, Py_ssize_t columns)
{
    const Py_buffer *views = curve->views;
    const double *numbers = views[OF_NUMBERS].buf;
    Py_ssize_t n = COUNT(views[OF_Y], double), places = COUNT(views[OF_PLACES], int64_t), block = curve->block;
    if (COUNT(views[OF_NUMBERS], double) < PATTERN || block <= 0 || (block & (block - 1)))
        return 0;
    if (!(numbers[PEN] >= 1.0 && numbers[PEN] <= 1024.0) || places != columns + (Py_ssize_t)numbers[PEN])
        return 0;
    Py_ssize_t blocks = n / block + (n % block != 0);
    return (block == 1 || (COUNT(views[OF_LOW], double) == blocks && COUNT(views[OF_HIGH], double) == blocks)) &&
           COUNT(views[OF_SHARES], double) == places && are_places(views[OF_PLACES].buf, places, n, block);
}

/* stroked(curves, strokes: int32): all at once, so that threads with other curves do not wait for the lock between two */
static PyObject *stroked(PyObject *self, PyObject *args)
{
    PyObject *given, *into;
    Py_buffer strokes;
    if (!PyArg_ParseTuple(args, "OO", &given, &into) || PyObject_GetBuffer(into, &strokes, WRITE) < 0)
        return NULL;
    Py_ssize_t count = PySequence_Size(given), known = 0, most = 0;
    Curve *curves = count > 0 ? PyMem_Calloc((size_t)count, sizeof(Curve)) : NULL;
    if (count > 0 && curves == NULL)
        PyErr_NoMemory();
    while (curves != NULL && known < count) {
        PyObject *item = PySequence_GetItem(given, known);
        int got = get_curve(item, &curves[known]);
        Py_XDECREF(item); /* its arrays are held by their views */
        if (got < 0)
            break;
        Py_ssize_t places = COUNT(curves[known].views[OF_PLACES], int64_t);
        most = places > most ? places : most;
        known++;
    }
    Py_ssize_t columns = count > 0 ? COUNT(strokes, int32_t) / NUMBERS / count : 0;
    int fits = known == count && COUNT(strokes, int32_t) == NUMBERS * columns * count;
    for (Py_ssize_t i = 0; fits && i < count; i++)
        fits = is_curve(&curves[i], columns);
    double *room = fits && count > 0 ? PyMem_Malloc((size_t)(most + 1) * 7 * sizeof(double)) : NULL;
    if (room != NULL) {
        Py_BEGIN_ALLOW_THREADS
        for (Py_ssize_t i = 0; i < count; i++) {
            const Py_buffer *views = curves[i].views;
            find_strokes(views[OF_Y].buf, views[OF_LOW].buf, views[OF_HIGH].buf, COUNT(views[OF_Y], double),
                         curves[i].block, views[OF_PLACES].buf, views[OF_SHARES].buf, views[OF_NUMBERS].buf,
                         COUNT(views[OF_NUMBERS], double) - PATTERN, columns, room + 1, room + most + 2,
                         room + 2 * (most + 1), room + 3 * (most + 1), ITEMS(strokes, int32_t) + i * NUMBERS * columns);
        }
        Py_END_ALLOW_THREADS
    }
    int has_room = room != NULL || count == 0;
    PyMem_Free(room);
    for (Py_ssize_t i = 0; i < known; i++)
        release_views(curves[i].views, ARRAYS_OF_CURVE);
    PyMem_Free(curves);
    PyBuffer_Release(&strokes);
    if (PyErr_Occurred() != NULL)
        return NULL;
    if (!fits)
        return refused("curves whose blocks and places fit their points, a pen, and five rows of columns");
    if (!has_room)
        return PyErr_NoMemory();
    Py_RETURN_NONE;
}

static inline uint32_t blended(uint32_t below, uint32_t colour, uint32_t cover)
{
    uint32_t even = 0x00FF00FFu, left = 256 - cover;
    uint32_t low = ((below & even) * left + (colour & even) * cover) >> 8 & even;
    uint32_t high = ((below >> 8 & even) * left + (colour >> 8 & even) * cover) & ~even;
    return low | high;
}

/* Blend rows `from` to `to` of a column as far as both edges of a stroke leave of it. */
static inline void fade_rows(uint32_t *column, int64_t from, int64_t to, int64_t top, int64_t bottom, int64_t above,
                             int64_t below, int64_t share, uint32_t colour)
{
    for (int64_t row = from; row < to; row++) {
        int64_t place = row * 256 + 128;
        int64_t cover = clipped_int(128 + (((place - top) * above) >> 16), 0, 256) +
                        clipped_int(128 + (((bottom - place) * below) >> 16), 0, 256) - 256;
        if (cover > 0)
            column[row] = blended(column[row], colour, (uint32_t)(cover * share >> 8));
    }
}

/* Columns painted at once: a row of them is some lines of the processor's cache, which are fetched together. */
enum { COLUMNS_AT_ONCE = 64, MOST_ROWS = 1 << 20 };

/* The rows of the strokes of some columns: all from `begins` to `ends`, solid from `full` to `emptied` where that is not empty. */
typedef struct {
    int32_t begins[COLUMNS_AT_ONCE], full[COLUMNS_AT_ONCE], emptied[COLUMNS_AT_ONCE], ends[COLUMNS_AT_ONCE];
} rows_of_strokes;

ALWAYS_INLINE int32_t within(int32_t value, int32_t low, int32_t high)
{
    value = value < high ? value : high;
    return value > low ? value : low;
}

VECTORS static void find_rows(const int32_t *strokes, Py_ssize_t columns, int count, int32_t rows,
                              rows_of_strokes *restrict found)
{
    for (int c = 0; c < count; c++) {
        int32_t share = strokes[4 * columns + c];
        int32_t above = within(strokes[2 * columns + c], 1, 65536), below = within(strokes[3 * columns + c], 1, 65536);
        int32_t top = within(strokes[c], -MOST_ROWS * 256, MOST_ROWS * 256);
        int32_t bottom = within(strokes[columns + c], -MOST_ROWS * 256, MOST_ROWS * 256);
        /* How far beyond an edge a stroke reaches, and how far within it is solid; quotients of small numbers are exact enough. */
        int32_t reach_above = (int32_t)(8323072.0 / (double)above), reach_below = (int32_t)(8323072.0 / (double)below);
        int32_t fill_above = (int32_t)((double)(8388607 + above) / (double)above);
        int32_t fill_below = (int32_t)((double)(8388607 + below) / (double)below);
        int32_t begins = within((top - reach_above + 127) >> 8, 0, rows);
        int32_t ends = within(((bottom + reach_below - 128) >> 8) + 1, 0, rows);
        int32_t full = within((top + fill_above + 127) >> 8, 0, rows);
        int32_t emptied = within(((bottom - fill_below - 128) >> 8) + 1, 0, rows);
        found->begins[c] = share > 0 ? begins : 0;
        found->ends[c] = share > 0 ? ends : 0;
        found->full[c] = share >= 256 ? full : 0;
        found->emptied[c] = share >= 256 ? emptied : 0;
    }
}

/* Paint the stroke of one column. */
static void paint_stroke(uint32_t *column, int32_t rows, const int32_t *stroke, Py_ssize_t columns, uint32_t colour)
{
    rows_of_strokes at;
    find_rows(stroke, columns, 1, rows, &at);
    int64_t top = stroke[0], bottom = stroke[columns], above = stroke[2 * columns], below = stroke[3 * columns];
    int64_t share = stroke[4 * columns] < 256 ? stroke[4 * columns] : 256;
    above = above > 0 ? above : 1;
    below = below > 0 ? below : 1;
    if (at.emptied[0] > at.full[0]) {
        fade_rows(column, at.begins[0], at.full[0], top, bottom, above, below, share, colour);
        for (int32_t row = at.full[0]; row < at.emptied[0]; row++)
            column[row] = colour;
        fade_rows(column, at.emptied[0], at.ends[0], top, bottom, above, below, share, colour);
    } else {
        fade_rows(column, at.begins[0], at.ends[0], top, bottom, above, below, share, colour);
    }
}

/* painted(image: uint32, columns, strokes: int32, colours: uint32, first, last) */
static PyObject *painted(PyObject *self, PyObject *args)
{
    PyObject *objects[3];
    Py_buffer views[3];
    Py_ssize_t columns, first, last;
    if (!PyArg_ParseTuple(args, "OnOOnn", &objects[0], &columns, &objects[1], &objects[2], &first, &last) ||
        get_views(objects, views, (const int[]){WRITE, READ, READ}, 3) < 0)
        return NULL;
    uint32_t *image = views[0].buf;
    const int32_t *strokes = views[1].buf;
    const uint32_t *colours = views[2].buf;
    Py_ssize_t curves = COUNT(views[2], uint32_t), pixels = COUNT(views[0], uint32_t);
    Py_ssize_t rows = columns > 0 ? pixels / columns : 0;
    int fits = columns > 0 && rows * columns == pixels && 0 <= first && first <= last && last <= columns &&
               COUNT(views[1], int32_t) / NUMBERS / columns == curves &&
               COUNT(views[1], int32_t) == curves * NUMBERS * columns && rows <= MOST_ROWS;
    /* Pixels of some columns, and for each the curves to be seen in it. */
    uint32_t *room = NULL;
    if (fits)
        room = PyMem_Malloc(((size_t)rows + (size_t)curves + 1) * COLUMNS_AT_ONCE * sizeof(uint32_t));
    if (room != NULL) {
        uint32_t *seen = room + rows * COLUMNS_AT_ONCE;
        Py_BEGIN_ALLOW_THREADS
        for (Py_ssize_t start = first; start < last; start += COLUMNS_AT_ONCE) {
            int count = last - start < COLUMNS_AT_ONCE ? (int)(last - start) : COLUMNS_AT_ONCE;
            for (Py_ssize_t row = 0; row < rows; row++)
                for (Py_ssize_t c = 0; c < count; c++)
                    room[c * rows + row] = image[row * columns + start + c];
            /* From the last curve to the first: what lies behind the solid part of later ones is not painted. */
            int32_t from[COLUMNS_AT_ONCE] = {0}, to[COLUMNS_AT_ONCE] = {0};
            Py_ssize_t many[COLUMNS_AT_ONCE] = {0};
            rows_of_strokes at;
            for (Py_ssize_t curve = curves; curve-- > 0;) {
                find_rows(strokes + curve * NUMBERS * columns + start, columns, count, (int32_t)rows, &at);
                for (int c = 0; c < count; c++) {
                    int is_nothing = at.begins[c] >= at.ends[c];
                    if (is_nothing | ((at.begins[c] >= from[c]) & (at.ends[c] <= to[c])))
                        continue;
                    seen[c * curves + many[c]++] = (uint32_t)curve;
                    if (at.emptied[c] <= at.full[c])
                        continue;
                    if (at.full[c] <= to[c] && at.emptied[c] >= from[c] && to[c] > from[c]) {
                        from[c] = at.full[c] < from[c] ? at.full[c] : from[c];
                        to[c] = at.emptied[c] > to[c] ? at.emptied[c] : to[c];
                    } else if (at.emptied[c] - at.full[c] > to[c] - from[c]) {
                        from[c] = at.full[c];
                        to[c] = at.emptied[c];
                    }
                }
            }
            for (int c = 0; c < count; c++)
                while (many[c]-- > 0) {
                    Py_ssize_t curve = seen[c * curves + many[c]];
                    paint_stroke(room + c * rows, (int32_t)rows, strokes + curve * NUMBERS * columns + start + c, columns,
                                 colours[curve]);
                }
            for (Py_ssize_t row = 0; row < rows; row++)
                for (Py_ssize_t c = 0; c < count; c++)
                    image[row * columns + start + c] = room[c * rows + row];
        }
        Py_END_ALLOW_THREADS
        PyMem_Free(room);
    }
    release_views(views, 3);
    if (!fits) {
        PyErr_SetString(PyExc_ValueError, "one colour for each curve, and one stroke for each column of the image");
        return NULL;
    }
    if (room == NULL)
        return PyErr_NoMemory();
    Py_RETURN_NONE;
}

/* -- numbers in text ------------------------------------------------------------------------------------------------------- */

/* Decimal numbers become the nearest float64: a product of two exact ones where there are such (Clinger, PLDI 1990), else by
   the method of Eisel and Lemire (Software: Practice and Experience 51, 2021, arXiv:2101.11408), which never fails for up to
   19 digits (Mushtak and Lemire, arXiv:2212.06644). More digits are decided by the first 19 where the others cannot matter,
   else by Python. */

enum { LEAST_POWER = -342, MOST_POWER = 308, POWERS = MOST_POWER - LEAST_POWER + 1, MOST_CHARACTERS = 1000 };

typedef struct {
    uint64_t high, low;
} Product;

ALWAYS_INLINE Product product_of(uint64_t a, uint64_t b)
{
#ifdef __SIZEOF_INT128__
    __extension__ unsigned __int128 product = (unsigned __int128)a * b;
    return (Product){(uint64_t)(product >> 64), (uint64_t)product};
#else
    uint64_t low = (a & UINT32_MAX) * (b & UINT32_MAX), cross = (a >> 32) * (b & UINT32_MAX) + (low >> 32);
    uint64_t other = (a & UINT32_MAX) * (b >> 32) + (cross & UINT32_MAX);
    return (Product){(a >> 32) * (b >> 32) + (cross >> 32) + (other >> 32), other << 32 | (low & UINT32_MAX)};
#endif
}

ALWAYS_INLINE int leading_zeros(uint64_t word)
{
#ifdef __GNUC__
    return __builtin_clzll(word);
#else
    int zeros = 0;
    for (; !(word >> 63); word <<= 1)
        zeros++;
    return zeros;
#endif
}

/* The bits of the float64 nearest to digits * 10^power, 0 where that is too small and those of infinity where it is too large.
   `fives` holds the 128 leading bits of each power of five. */
static uint64_t nearest(uint64_t digits, int64_t power, const uint64_t *fives)
{
    const uint64_t infinite = (uint64_t)0x7FF << 52;
    if (!digits || power < LEAST_POWER)
        return 0;
    if (power > MOST_POWER)
        return infinite;
    int zeros = leading_zeros(digits);
    digits <<= zeros;
    const uint64_t *five = fives + 2 * (power - LEAST_POWER);
    Product product = product_of(digits, five[0]);
    if ((product.high & 0x1FF) == 0x1FF) { /* the lower half may carry into the bits that count */
        uint64_t more = product_of(digits, five[1]).high;
        product.low += more;
        product.high += product.low < more;
    }
    int upper = (int)(product.high >> 63);
    uint64_t mantissa = product.high >> (upper + 9);
    /* 217706 / 2^16 is log2(10), to enough digits for these powers */
    int64_t exponent = ((217706 * power) >> 16) + 63 + upper - zeros + 1023;
    if (exponent <= 0) { /* subnormal */
        if (exponent <= -63)
            return 0;
        mantissa >>= 1 - exponent;
        return (mantissa + (mantissa & 1)) >> 1;
    }
    /* half way between two floats: only where the product is exact, and then to the even one */
    if (product.low <= 1 && power >= -4 && power <= 23 && (mantissa & 3) == 1 && mantissa << (upper + 9) == product.high)
        mantissa &= ~(uint64_t)1;
    mantissa = (mantissa + (mantissa & 1)) >> 1;
    if (mantissa >> 53) {
        mantissa >>= 1;
        exponent++;
    }
    return exponent >= 0x7FF ? infinite : (uint64_t)exponent << 52 | (mantissa & (((uint64_t)1 << 52) - 1));
}

static const double tens[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                              1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};

/* Read digits, eight at a time: as many as there are, the first one in the lowest byte of a word. */
ALWAYS_INLINE const char *past_digits(const char *at, const char *end, uint64_t *digits)
{
#ifdef __GNUC__
    static const uint64_t whole_tens[] = {1, 10, 100, 1000, 10000, 100000, 1000000, 10000000, 100000000};
    while (end - at >= 8) {
        uint64_t eight = u64_at((const uint8_t *)at) ^ 0x3030303030303030u; /* 0 to 9 in bytes that are digits */
        uint64_t others = (((eight & 0x7F7F7F7F7F7F7F7Fu) + 0x7676767676767676u) | eight) & 0x8080808080808080u;
        int count = others ? __builtin_ctzll(others) / 8 : 8;
        if (!count)
            return at;
        eight <<= 64 - 8 * count; /* zeros in front */
        eight = eight * 10 + (eight >> 8);
        uint64_t firsts = eight & 0x000000FF000000FFu, seconds = eight >> 16 & 0x000000FF000000FFu;
        eight = (firsts * 0x000F424000000064u + seconds * 0x0000271000000001u) >> 32;
        *digits = *digits * whole_tens[count] + eight;
        at += count;
        if (count < 8)
            return at;
    }
#endif
    for (; at < end && *at >= '0' && *at <= '9'; at++)
        *digits = *digits * 10 + (uint64_t)(*at - '0');
    return at;
}

enum { FLOATING = 1, WHOLE = 2, ZERO_BELOW = 4 }; /* a number; without point and exponent; -0 */

/* Read the number of JSON at a place: what kind it is, 0 where there is none or Python has to look. NaN and Infinity are
   numbers as Python writes them. `state` is given where the interpreter's lock was let go. */
ALWAYS_INLINE int read_number(const char **from, const char *end, double *value, const uint64_t *fives, PyThreadState **state)
{
    const char *at = *from, *begin = at;
    int negative = at < end && *at == '-';
    at += negative;
    const char *first = at;
    uint64_t digits = 0, bits;
    int64_t power = 0;
    at = past_digits(at, end, &digits);
    int64_t count = at - first;
    if (!count || (count > 1 && *first == '0')) {
        if (count)
            return 0;
        if (end - at >= 8 && !memcmp(at, "Infinity", 8)) {
            *from = at + 8;
            bits = (uint64_t)0x7FF << 52;
        } else if (!negative && end - at >= 3 && (!memcmp(at, "NaN", 3) || !memcmp(at, "nan", 3))) {
            *from = at + 3;
            bits = (uint64_t)0xFFF << 51;
        } else
            return 0;
        bits |= (uint64_t)negative << 63;
        memcpy(value, &bits, 8);
        return FLOATING;
    }
    int kind = FLOATING | WHOLE;
    if (at < end && *at == '.') {
        const char *point = ++at;
        at = past_digits(at, end, &digits);
        if (at == point)
            return 0;
        power = point - at;
        count += at - point;
        kind = FLOATING;
    }
    const char *behind = at;
    if (at < end && (*at == 'e' || *at == 'E')) {
        int64_t exponent = 0;
        at++;
        int below = at < end && *at == '-';
        at += at < end && (*at == '-' || *at == '+');
        const char *exponents = at;
        for (; at < end && *at >= '0' && *at <= '9'; at++)
            if (exponent < 100000)
                exponent = exponent * 10 + (*at - '0');
        if (at == exponents)
            return 0;
        power += below ? -exponent : exponent;
        kind = FLOATING;
    }
    *from = at;
    if (count > 19) { /* zeros in front do not count */
        const char *p = first;
        for (; p < behind && (*p == '0' || *p == '.'); p++)
            count -= *p == '0';
        if (count > 19) {
            int64_t left = count;
            digits = 0;
            for (int taken = 0; taken < 19; p++)
                if (*p != '.') {
                    digits = digits * 10 + (uint64_t)(*p - '0');
                    taken++;
                    left--;
                }
            bits = nearest(digits, power + left, fives);
            if (bits != nearest(digits + 1, power + left, fives)) {
                char text[MOST_CHARACTERS + 1];
                size_t size = (size_t)(at - begin);
                if (size > MOST_CHARACTERS)
                    return 0;
                memcpy(text, begin, size);
                text[size] = 0;
                PyEval_RestoreThread(*state);
                *value = PyOS_string_to_double(text, NULL, NULL);
                if (PyErr_Occurred())
                    PyErr_Clear();
                *state = PyEval_SaveThread();
                return isfinite(*value) && *value != 0 ? kind : 0;
            }
            goto whole;
        }
    }
    if (!digits) {
        *value = negative ? -0.0 : 0.0;
        return negative && kind & WHOLE ? kind | ZERO_BELOW : kind;
    }
    if (FLT_EVAL_METHOD == 0 && digits >> 53 == 0 && power >= -22 && power <= 22) {
        double exact = (double)digits;
        exact = power < 0 ? exact / tens[-power] : exact * tens[power];
        *value = negative ? -exact : exact;
        return kind;
    }
    bits = nearest(digits, power, fives);
whole:
    if (!bits || bits == (uint64_t)0x7FF << 52)
        return 0; /* too small or too large: readers differ in what they make of it */
    bits |= (uint64_t)negative << 63;
    memcpy(value, &bits, 8);
    return kind;
}

ALWAYS_INLINE int is_same(const char *a, const char *b, size_t n)
{
    for (; n >= 8; n -= 8, a += 8, b += 8)
        if (u64_at((const uint8_t *)a) != u64_at((const uint8_t *)b))
            return 0;
    for (; n; n--)
        if (*a++ != *b++)
            return 0;
    return 1;
}

/* Whether a line ends here; go behind its end. */
ALWAYS_INLINE int past_line_end(const char **at, const char *end)
{
    if (*at < end && **at == '\r')
        ++*at;
    if (*at == end)
        return (*at)[-1] != '\r';
    return *(*at)++ == '\n';
}

/* count_lines(data) -> int: the last one may lack its end */
static PyObject *count_lines(PyObject *self, PyObject *data)
{
    Py_buffer view;
    if (get_views(&data, &view, (const int[]){READ}, 1) < 0)
        return NULL;
    const char *bytes = view.buf;
    Py_ssize_t lines = view.len && bytes[view.len - 1] != '\n';
    Py_BEGIN_ALLOW_THREADS
    for (Py_ssize_t at = 0; at < view.len;) {
        Py_ssize_t stop = view.len - at < 255 ? view.len : at + 255;
        uint8_t ends = 0; /* few enough bytes for a count of one byte, so that many are compared at once */
        for (; at < stop; at++)
            ends += bytes[at] == '\n';
        lines += ends;
    }
    Py_END_ALLOW_THREADS
    release_views(&view, 1);
    return PyLong_FromSsize_t(lines);
}

/* lines_of_numbers(data, before: bytes, ends: int64, fives: uint64, out: float64) -> lines, or -1

   Lines of JSON. Before number i of every line stands what is in `before` up to ends[i]; behind the last one stands a brace. */
static PyObject *lines_of_numbers(PyObject *self, PyObject *args)
{
    PyObject *objects[5];
    Py_buffer views[5];
    if (!PyArg_ParseTuple(args, "OOOOO", &objects[0], &objects[1], &objects[2], &objects[3], &objects[4]) ||
        get_views(objects, views, (const int[]){READ, READ, READ, READ, WRITE}, 5) < 0)
        return NULL;
    const char *at = views[0].buf, *end = at + views[0].len, *before = views[1].buf;
    const int64_t *ends = views[2].buf;
    const uint64_t *fives = views[3].buf;
    double *out = views[4].buf;
    Py_ssize_t columns = COUNT(views[2], int64_t), most = columns ? COUNT(views[4], double) / columns : 0, line = 0;
    int fits = columns > 0 && COUNT(views[3], uint64_t) == 2 * POWERS && ends[columns - 1] <= views[1].len;
    for (Py_ssize_t i = 0; fits && i < columns; i++)
        fits = ends[i] >= (i ? ends[i - 1] : 0);
    int is_plain = fits;
    PyThreadState *state = PyEval_SaveThread();
    while (is_plain && at < end) {
        is_plain = line < most;
        for (Py_ssize_t i = 0; is_plain && i < columns; i++) {
            const char *constant = before + (i ? ends[i - 1] : 0);
            size_t size = (size_t)(before + ends[i] - constant);
            is_plain = (size_t)(end - at) >= size && is_same(at, constant, size);
            at += size;
            is_plain = is_plain && read_number(&at, end, &out[i * most + line], fives, &state) && at < end &&
                       *at++ == (i + 1 < columns ? ',' : '}');
        }
        is_plain = is_plain && past_line_end(&at, end);
        line++;
    }
    PyEval_RestoreThread(state);
    release_views(views, 5);
    return fits ? PyLong_FromSsize_t(is_plain ? line : -1) : refused("the columns do not fit the text before them");
}

/* rows_of_numbers(data, delimiter, columns, fives: uint64, out: float64, missing: bool) -> rows, or -1

   Rows of cells, which are numbers or empty; `missing`, all False before, says which are empty. */
static PyObject *rows_of_numbers(PyObject *self, PyObject *args)
{
    PyObject *objects[4];
    Py_buffer views[4];
    int delimiter;
    Py_ssize_t columns;
    if (!PyArg_ParseTuple(args, "OinOOO", &objects[0], &delimiter, &columns, &objects[1], &objects[2], &objects[3]) ||
        get_views(objects, views, (const int[]){READ, READ, WRITE, WRITE}, 4) < 0)
        return NULL;
    const char *at = views[0].buf, *end = at + views[0].len;
    const uint64_t *fives = views[1].buf;
    double *out = views[2].buf;
    uint8_t *missing = views[3].buf;
    Py_ssize_t most = columns > 1 ? views[3].len / columns : 0, row = 0;
    int fits = columns > 1 && COUNT(views[1], uint64_t) == 2 * POWERS && COUNT(views[2], double) == views[3].len;
    int is_plain = fits;
    PyThreadState *state = PyEval_SaveThread();
    while (is_plain && at < end) {
        is_plain = row < most && *at != '\n' && *at != '\r';
        for (Py_ssize_t i = 0; is_plain && i < columns; i++) {
            while (at < end && *at == ' ')
                at++;
            double *value = &out[i * most + row];
            if (at < end && *at != delimiter && *at != '\n' && *at != '\r') {
                int kind = read_number(&at, end, value, fives, &state);
                is_plain = kind && !(kind & ZERO_BELOW);
                while (at < end && *at == ' ')
                    at++;
            } else {
                const uint64_t bits = (uint64_t)0xFFF << 51;
                memcpy(value, &bits, 8);
                missing[i * most + row] = 1;
            }
            if (i + 1 < columns)
                is_plain = is_plain && at < end && *at++ == delimiter;
        }
        is_plain = is_plain && past_line_end(&at, end);
        row++;
    }
    PyEval_RestoreThread(state);
    release_views(views, 4);
    return fits ? PyLong_FromSsize_t(is_plain ? row : -1) : refused("the columns do not fit");
}

/* -- the module --------------------------------------------------------------------------------------------------------- */

/* What functions take and fill; raised with every change of it. */
enum { INTERFACE = 3 };

static int prepare(PyObject *module)
{
    make_crc_table();
    choose_crc(0);
    return PyModule_AddIntConstant(module, "INTERFACE", INTERFACE);
}

static PyMethodDef functions[] = {
    {"are_sound", are_sound, METH_VARARGS, NULL},
    {"use_tables", use_tables, METH_O, NULL},
    {"rows_alike", rows_alike, METH_VARARGS, NULL},
    {"items", items, METH_VARARGS, NULL},
    {"common_steps", common_steps, METH_VARARGS, NULL},
    {"near", near, METH_VARARGS, NULL},
    {"chain", chain, METH_VARARGS, NULL},
    {"scalars", scalars, METH_VARARGS, NULL},
    {"count_lines", count_lines, METH_O, NULL},
    {"lines_of_numbers", lines_of_numbers, METH_VARARGS, NULL},
    {"rows_of_numbers", rows_of_numbers, METH_VARARGS, NULL},
    {"block_extremes", block_extremes, METH_VARARGS, NULL},
    {"edges", edges, METH_VARARGS, NULL},
    {"painted", painted, METH_VARARGS, NULL},
    {"stroked", stroked, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, prepare},
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "_compiled", "The compiled twins of the kernels.", 0, functions, slots, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__compiled(void)
{
    return PyModuleDef_Init(&definition);
}
