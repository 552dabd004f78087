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

int rg_suggest_many(const char *wanted, const char *const *names, const char **best, int max)
{
    int scores[MAX_BEST], n = 0;
    const int n_wanted = length(wanted);

    if (max > MAX_BEST)
        max = MAX_BEST;
    for (; *names; names++) {
        const int n_name = length(*names), longer = n_name > n_wanted ? n_name : n_wanted;
        const bool is_part = n_wanted >= 3 && n_name >= 3 && (strcasestr(*names, wanted) || strcasestr(wanted, *names));
        /* per mille of the longer name, so that long and short names compare; a name inside the other is always near */
        int score = longer ? distance(wanted, n_wanted, *names, n_name) * 1000 / longer : 0, at;

        if (is_part && score > 400)
            score = 400;
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
    return n;
}

const char *rg_suggest(const char *word, const char *const *names)
{
    const char *best;

    return rg_suggest_many(word, names, &best, 1) ? best : NULL;
}
