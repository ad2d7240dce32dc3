/* The compiled twins of the kernels in this folder: each gives the bits its twin in numpy gives.

   A function takes objects with the buffer protocol (numpy arrays, bytes), checks their sizes, lets go of the interpreter's
   lock, and fills the arrays it was given. Nothing is read or written outside of them, whatever they hold. Only the stable
   interface of CPython 3.11 is used, so that one file serves all later versions. */

#define Py_LIMITED_API 0x030B0000
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <string.h>

#if (defined(__x86_64__) || defined(_M_X64)) && (defined(__GNUC__) || defined(__clang__))
#define HAS_SSE42 1
#include <nmmintrin.h>
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
__attribute__((target("sse4.2"))) static uint32_t crc_of_sse42(const uint8_t *p, size_t n)
{
    uint64_t crc = 0xFFFFFFFFu;
    for (; n >= 8; n -= 8, p += 8) {
        uint64_t word;
        memcpy(&word, p, 8);
        crc = _mm_crc32_u64(crc, word);
    }
    uint32_t rest = (uint32_t)crc;
    for (; n; n--, p++)
        rest = _mm_crc32_u8(rest, *p);
    return ~rest;
}
#endif

/* Chosen when the module is loaded: by the processor's instruction where it has one. */
static uint32_t (*crc_of)(const uint8_t *, size_t) = crc_of_tables;

static int is_sound(const uint8_t *payload, size_t length)
{
    uint32_t crc = crc_of(payload, length);
    return ((crc >> 15) | (crc << 17)) + 0xA282EAD8u == u32_at(payload + length);
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
            sound[i] = (uint8_t)is_sound(bytes + at, (size_t)length);
    }
    Py_END_ALLOW_THREADS
    release_views(views, 4);
    if (!fits) {
        PyErr_SetString(PyExc_ValueError, "a payload is not within the buffer");
        return NULL;
    }
    Py_RETURN_NONE;
}

/* use_tables(bool): whether checksums are computed without the processor's instruction, for the tests */
static PyObject *use_tables(PyObject *self, PyObject *wanted)
{
    int tables = PyObject_IsTrue(wanted);
    if (tables < 0)
        return NULL;
    crc_of = crc_of_tables;
#ifdef HAS_SSE42
    if (!tables && __builtin_cpu_supports("sse4.2"))
        crc_of = crc_of_sse42;
#endif
    Py_RETURN_NONE;
}

/* -- the module --------------------------------------------------------------------------------------------------------- */

static int prepare(PyObject *module)
{
    make_crc_table();
#ifdef HAS_SSE42
    __builtin_cpu_init();
    if (__builtin_cpu_supports("sse4.2"))
        crc_of = crc_of_sse42;
#endif
    return 0;
}

static PyMethodDef functions[] = {
    {"are_sound", are_sound, METH_VARARGS, NULL},
    {"use_tables", use_tables, METH_O, NULL},
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
