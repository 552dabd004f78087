/*
 * Unicode for the tokenizers. Tables are runs found by binary search; ASCII, which is nearly all of every prompt, never
 * gets that far. Sources: Unicode standard annexes 15 (normalization) and 29 (text segmentation); Python's str.lower().
 */
#include "engine/text/unicode.h"

#include <stdlib.h>
#include <string.h>

#include "engine/core/ctx.h"
#include "engine/text/unicode_tables.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* A run is its first character << 11 | properties: class 3 bits, cased 1, case-ignorable 1, grapheme class 4, conjunct 2. */
enum { CASED = 1 << 3, CASE_IGNORABLE = 1 << 4 };
enum grapheme_class {                   /* the order of GCB in unicode_tables.py; the last three are computed here */
    G_OTHER, G_PREPEND, G_CONTROL, G_EXTEND, G_ZWJ, G_SPACING, G_L, G_V, G_T, G_LV, G_REGIONAL, G_PICTOGRAPHIC, G_LVT, G_CR, G_LF
};
enum conjunct_class { C_NONE, C_LINKER, C_CONSONANT, C_EXTEND };

static unsigned props_of(uint32_t cp)
{
    size_t low = 0, high = COUNT(prop_runs);

    while (high - low > 1) {            /* the first run begins at 0 */
        const size_t mid = (low + high) / 2;
        if (prop_runs[mid] >> 11 <= cp)
            low = mid;
        else
            high = mid;
    }
    return prop_runs[low] & 0x7ff;
}

rg_uni_class rg_uni_class_of(uint32_t cp)
{
    if ((cp | 0x20) - 'a' < 26)
        return RG_UNI_LETTER;
    return (rg_uni_class)(props_of(cp) & 7);
}

/* ---- lists of characters ---------------------------------------------------------------------------------------- */

static bool reserve(rg_chars *s, size_t n)
{
    if (n <= s->capacity)
        return true;
    const size_t capacity = n < 64 ? 64 : n + n / 2;
    uint32_t *cp = rg_realloc(s->cp, capacity * sizeof *cp);
    if (!cp)
        return false;
    s->cp = cp;
    s->capacity = capacity;
    return true;
}

bool rg_chars_push(rg_chars *s, uint32_t cp)
{
    if (s->n == s->capacity && !reserve(s, s->n + 1))
        return false;
    s->cp[s->n++] = cp;
    return true;
}

bool rg_chars_from_utf8(rg_chars *s, const char *text, size_t n)
{
    if (!reserve(s, s->n + n))
        return false;
    for (size_t i = 0; i < n; )
        s->cp[s->n++] = rg_utf8_next(text, n, &i);
    return true;
}

/* ---- lower case --------------------------------------------------------------------------------------------------- */

static uint32_t lower_of(uint32_t cp)
{
    size_t low = 0, high = COUNT(lower_runs);

    if (cp < 0x80)
        return cp - 'A' < 26 ? cp + 32 : cp;
    while (low < high) {
        const size_t mid = (low + high) / 2;
        if (cp > lower_runs[mid].last)
            low = mid + 1;
        else if (cp < lower_runs[mid].first)
            high = mid;
        else if ((cp - lower_runs[mid].first) % lower_runs[mid].step)
            return cp;
        else
            return (uint32_t)((int32_t)cp + lower_runs[mid].delta);
    }
    return cp;
}

/* A capital sigma is final if a cased character stands before it, and none after it, case-ignorable ones not counting. */
static bool is_final_sigma(const uint32_t *word, size_t n, size_t at)
{
    size_t i = at;
    unsigned props = 0;

    while (i > 0 && (props = props_of(word[i - 1])) & CASE_IGNORABLE)
        i--;
    if (i == 0 || !(props & CASED))
        return false;
    for (i = at + 1; i < n && (props = props_of(word[i])) & CASE_IGNORABLE; )
        i++;
    return i == n || !(props & CASED);
}

bool rg_uni_lower(rg_chars *out, const uint32_t *word, size_t n)
{
    if (!reserve(out, out->n + n))
        return false;
    for (size_t i = 0; i < n; i++) {
        uint32_t cp = lower_of(word[i]);
        if (word[i] == 0x3A3)
            cp = is_final_sigma(word, n, i) ? 0x3C2 : 0x3C3;
        if (word[i] == 0x130) {
            if (!rg_chars_push(out, 'i'))
                return false;
            cp = 0x307;
        }
        if (!rg_chars_push(out, cp))
            return false;
    }
    return true;
}

/* ---- normalization form C ------------------------------------------------------------------------------------------- */

enum { S_BASE = 0xAC00, L_BASE = 0x1100, V_BASE = 0x1161, T_BASE = 0x11A7, L_COUNT = 19, V_COUNT = 21, T_COUNT = 28,
       S_COUNT = L_COUNT * V_COUNT * T_COUNT };

static int combining_class(uint32_t cp)
{
    size_t low = 0, high = COUNT(combining_runs);

    if (cp < 0x300)
        return 0;
    while (low < high) {
        const size_t mid = (low + high) / 2;
        if (cp > combining_runs[mid].last)
            low = mid + 1;
        else if (cp < combining_runs[mid].first)
            high = mid;
        else
            return combining_runs[mid].ccc;
    }
    return 0;
}

static bool decompose(rg_chars *out, uint32_t cp)
{
    size_t low = 0, high = COUNT(decompositions);

    if (cp < 0xC0)
        return rg_chars_push(out, cp);
    if (cp - S_BASE < S_COUNT) {
        const uint32_t s = cp - S_BASE, t = s % T_COUNT;
        return rg_chars_push(out, L_BASE + s / (V_COUNT * T_COUNT)) && rg_chars_push(out, V_BASE + s / T_COUNT % V_COUNT) &&
               (!t || rg_chars_push(out, T_BASE + t));
    }
    while (low < high) {
        const size_t mid = (low + high) / 2;
        if (cp > decompositions[mid].cp)
            low = mid + 1;
        else if (cp < decompositions[mid].cp)
            high = mid;
        else                            /* only the first part can go on, and at most three times */
            return decompose(out, decompositions[mid].a) && (!decompositions[mid].b || rg_chars_push(out, decompositions[mid].b));
    }
    return rg_chars_push(out, cp);
}

/* The character that a and b make together, or 0. */
static uint32_t compose(uint32_t a, uint32_t b)
{
    size_t low = 0, high = COUNT(compositions);

    if (a - L_BASE < L_COUNT && b - V_BASE < V_COUNT)
        return S_BASE + ((a - L_BASE) * V_COUNT + (b - V_BASE)) * T_COUNT;
    if (a - S_BASE < S_COUNT && (a - S_BASE) % T_COUNT == 0 && b - T_BASE - 1 < T_COUNT - 1)
        return a + (b - T_BASE);
    while (low < high) {
        const size_t mid = (low + high) / 2;
        const uint32_t ma = decompositions[compositions[mid]].a, mb = decompositions[compositions[mid]].b;
        if (ma == a && mb == b)
            return decompositions[compositions[mid]].cp;
        if (ma < a || (ma == a && mb < b))
            low = mid + 1;
        else
            high = mid;
    }
    return 0;
}

typedef struct mark {
    uint32_t cp;
    uint8_t ccc;
    size_t at;
} mark;

static int by_class(const void *a, const void *b)
{
    const mark *x = a, *y = b;
    return x->ccc != y->ccc ? x->ccc - y->ccc : x->at < y->at ? -1 : x->at > y->at;
}

/* Put every run of combining marks into the order of their classes; equal ones stay in order. */
static bool reorder_marks(rg_chars *s)
{
    mark *marks = NULL;
    size_t capacity = 0;
    bool ok = false;

    for (size_t i = 0; i < s->n; ) {
        size_t n = 0;
        bool sorted = true;
        for (int ccc; i + n < s->n && (ccc = combining_class(s->cp[i + n])); n++) {
            if (n == capacity) {
                mark *more = rg_realloc(marks, (capacity = capacity ? 2 * capacity : 16) * sizeof *more);
                if (!more)
                    goto done;
                marks = more;
            }
            marks[n] = (mark){ s->cp[i + n], (uint8_t)ccc, n };
            sorted = sorted && (n == 0 || marks[n - 1].ccc <= ccc);
        }
        if (!sorted) {
            qsort(marks, n, sizeof *marks, by_class);
            for (size_t k = 0; k < n; k++)
                s->cp[i + k] = marks[k].cp;
        }
        i += n ? n : 1;
    }
    ok = true;
done:
    rg_free(marks);
    return ok;
}

bool rg_uni_nfc(rg_chars *s)
{
    rg_chars d = { 0 };
    size_t i = 0;

    while (i < s->n && s->cp[i] < 0x300)    /* nothing below U+0300 composes or decomposes for good */
        i++;
    if (i == s->n)
        return true;
    for (i = 0; i < s->n; i++)
        if (!decompose(&d, s->cp[i]))
            goto fail;
    if (!reorder_marks(&d))
        goto fail;

    /* join each starter with what follows, unless a mark of the same or a higher class, or a starter, stands between */
    size_t starter = SIZE_MAX, n = 0;
    int last = 0;                       /* class of the character kept last, after the starter */
    for (i = 0; i < d.n; i++) {
        const int ccc = combining_class(d.cp[i]);
        if (starter != SIZE_MAX && (n == starter + 1 || (last < ccc && last))) {
            const uint32_t whole = compose(d.cp[starter], d.cp[i]);
            if (whole) {
                d.cp[starter] = whole;
                continue;
            }
        }
        if (ccc == 0)
            starter = n;
        last = ccc;
        d.cp[n++] = d.cp[i];
    }
    d.n = n;
    rg_free(s->cp);
    *s = d;
    return true;
fail:
    rg_free(d.cp);
    return false;
}

/* ---- graphemes ------------------------------------------------------------------------------------------------------ */

static unsigned grapheme_props(uint32_t cp)
{
    if (cp - S_BASE < S_COUNT)
        return (cp - S_BASE) % T_COUNT ? G_LVT : G_LV;
    if (cp == '\r' || cp == '\n')
        return cp == '\r' ? G_CR : G_LF;
    if (cp - 0x20 < 0x5F)
        return G_OTHER;
    const unsigned props = props_of(cp);
    return (props >> 5 & 15) | (props >> 9 & 3) << 4;
}

size_t rg_uni_grapheme(const char *text, size_t n)
{
    size_t i = 0;
    unsigned before = grapheme_props(rg_utf8_next(text, n, &i));
    bool is_first_regional = true;
    bool after_pictograph = (before & 15) == G_PICTOGRAPHIC;    /* pictograph, then only Extend, then perhaps ZWJ */
    bool after_consonant = before >> 4 == C_CONSONANT, has_linker = false;

    while (i < n) {
        const size_t at = i;
        const unsigned props = grapheme_props(rg_utf8_next(text, n, &i)), a = before & 15, b = props & 15, conjunct = props >> 4;
        bool joins = false;

        if (a == G_CR)
            joins = b == G_LF;                                                              /* GB3, GB4 */
        else if (a == G_CONTROL || a == G_LF || b == G_CONTROL || b == G_CR || b == G_LF)
            joins = false;                                                                  /* GB4, GB5 */
        else if (b == G_EXTEND || b == G_ZWJ || b == G_SPACING || a == G_PREPEND)
            joins = true;                                                                   /* GB9, GB9a, GB9b */
        else if (a == G_L)
            joins = b == G_L || b == G_V || b == G_LV || b == G_LVT;                        /* GB6 */
        else if (a == G_LV || a == G_V)
            joins = b == G_V || b == G_T;                                                   /* GB7 */
        else if (a == G_LVT || a == G_T)
            joins = b == G_T;                                                               /* GB8 */
        else if (a == G_REGIONAL && b == G_REGIONAL)
            joins = is_first_regional;                                                      /* GB12 */
        else if (a == G_ZWJ && b == G_PICTOGRAPHIC)
            joins = after_pictograph;                                                       /* GB11 */
        if (!joins && after_consonant && has_linker && conjunct == C_CONSONANT)
            joins = true;                                                                   /* GB9c */
        if (!joins)
            return at;

        is_first_regional = b == G_REGIONAL && a != G_REGIONAL;
        after_pictograph = b == G_PICTOGRAPHIC || (after_pictograph && a != G_ZWJ && (b == G_EXTEND || b == G_ZWJ));
        if (conjunct == C_CONSONANT) {
            after_consonant = true;
            has_linker = false;
        } else if (conjunct == C_LINKER) {
            has_linker = after_consonant;
        } else if (conjunct != C_EXTEND) {
            after_consonant = has_linker = false;
        }
        before = props;
    }
    return n;
}

/* ---- white space ------------------------------------------------------------------------------------------------------ */

bool rg_uni_is_white_space(uint32_t cp)
{
    return cp == ' ' || (cp >= 9 && cp <= 13) || cp == 0x85 || cp == 0xA0 || cp == 0x1680 || (cp >= 0x2000 && cp <= 0x200A) ||
           cp == 0x2028 || cp == 0x2029 || cp == 0x202F || cp == 0x205F || cp == 0x3000;
}

bool rg_uni_is_py_space(uint32_t cp)
{
    return rg_uni_is_white_space(cp) || (cp >= 0x1C && cp <= 0x1F);
}

int rg_uni_digit(uint32_t cp)
{
    for (size_t i = 0; i < COUNT(decimal_zeros); i++)
        if (cp - decimal_zeros[i] < 10)
            return (int)(cp - decimal_zeros[i]);
    return -1;
}
