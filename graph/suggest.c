/* Nearest names by restricted Damerau-Levenshtein distance. Source: Damerau 1964, Levenshtein 1966. */
#include "graph/suggest.h"

#include <ctype.h>
#include <stdbool.h>
#include <string.h>

enum { MAX_NAME = 128, MAX_BEST = 8 };  /* longer names count by their first MAX_NAME bytes */

static int min3(int a, int b, int c)
{
    const int m = a < b ? a : b;

    return m < c ? m : c;
}

/* Insertions, deletions, changes and swaps of neighbours that turn a into b. */
static int distance(const char *a, int na, const char *b, int nb)
{
    int rows[3][MAX_NAME + 1];
    int *before = rows[0], *last = rows[1], *row = rows[2];

    for (int j = 0; j <= nb; j++)
        last[j] = j;
    for (int i = 1; i <= na; i++) {
        row[0] = i;
        for (int j = 1; j <= nb; j++) {
            const int change = tolower((unsigned char)a[i - 1]) != tolower((unsigned char)b[j - 1]);

            row[j] = min3(last[j] + 1, row[j - 1] + 1, last[j - 1] + change);
            if (i > 1 && j > 1 && tolower((unsigned char)a[i - 1]) == tolower((unsigned char)b[j - 2])
                && tolower((unsigned char)a[i - 2]) == tolower((unsigned char)b[j - 1]) && before[j - 2] + change < row[j])
                row[j] = before[j - 2] + change;
        }
        int *free_row = before;
        before = last;
        last = row;
        row = free_row;
    }
    return last[nb];
}

static int length(const char *s)
{
    const size_t n = strlen(s);

    return n < MAX_NAME ? (int)n : MAX_NAME;
}

/* Length of the CamelCase or _-separated word that starts at s. */
static int word_length(const char *s)
{
    int n = 1;

    while (isupper((unsigned char)s[n]) && isupper((unsigned char)s[n - 1]))    /* "VAE" of VAEDecode, and one letter too many */
        n++;
    if (n > 1)
        return s[n] && islower((unsigned char)s[n]) ? n - 1 : n;
    while (s[n] && isalnum((unsigned char)s[n]) && !isupper((unsigned char)s[n]))
        n++;
    return n;
}

/* Is every word of a somewhere in b? */
static bool has_words(const char *a, const char *b)
{
    char word[MAX_NAME];

    for (int n; *a; a += n) {
        n = word_length(a);
        if (n >= MAX_NAME)
            return false;
        memcpy(word, a, (size_t)n);
        word[n] = '\0';
        if (!strcasestr(b, word))
            return false;
    }
    return true;
}

/* Length without the extension that two file names share: it tells nothing. */
static void drop_extension(const char *a, int *na, const char *b, int *nb)
{
    const char *x = strrchr(a, '.'), *y = strrchr(b, '.');

    if (x && y && x > a && y > b && !strcasecmp(x, y) && x - a < *na && y - b < *nb) {
        *na = (int)(x - a);
        *nb = (int)(y - b);
    }
}

/* How far off a name is, per mille of the longer one, so that short and long names compare; above 500 is no match. */
static int score_of(const char *wanted, const char *name)
{
    int n_wanted = length(wanted), n_name = length(name), longer, score;

    drop_extension(wanted, &n_wanted, name, &n_name);
    longer = n_name > n_wanted ? n_name : n_wanted;
    score = longer ? distance(wanted, n_wanted, name, n_name) * 1000 / longer : 0;
    if (score > 400 && n_wanted >= 3 && n_name >= 3 && (strcasestr(name, wanted) || strcasestr(wanted, name)))
        score = 400;                    /* one inside the other */
    if (score > 300 && length(wanted) == length(name) && has_words(wanted, name) && has_words(name, wanted))
        score = 300;                    /* the same words in another order */
    return score;
}

int rg_suggest_many(const char *wanted, const char *const *names, const char **best, int max)
{
    int scores[MAX_BEST], n = 0;

    if (max > MAX_BEST)
        max = MAX_BEST;
    for (; *names; names++) {
        const int score = score_of(wanted, *names);
        int at;

        if (score > 500)
            continue;
        for (at = n; at > 0 && scores[at - 1] > score; at--)
            ;
        if (at >= max)
            continue;
        if (n < max)
            n++;
        memmove(&scores[at + 1], &scores[at], (size_t)(n - at - 1) * sizeof(scores[0]));
        memmove(&best[at + 1], &best[at], (size_t)(n - at - 1) * sizeof(best[0]));
        scores[at] = score;
        best[at] = *names;
    }
    while (n > 1 && scores[n - 1] > 2 * scores[0] + 150)        /* beside a good match a poor one only distracts */
        n--;
    return n;
}

const char *rg_suggest(const char *word, const char *const *names)
{
    const char *best;

    return rg_suggest_many(word, names, &best, 1) ? best : NULL;
}
