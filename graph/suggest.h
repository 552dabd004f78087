/* "Did you mean": the nearest names to a misspelt one, by edits (swapped neighbours count once), ignoring case. */
#ifndef RG_GRAPH_SUGGEST_H
#define RG_GRAPH_SUGGEST_H

/* The one of names (NULL-terminated) nearest to word; NULL if none is near enough to be meant. Borrowed. */
const char *rg_suggest(const char *word, const char *const *names);

/* Up to max of them, best first, into best. Returns how many; 0 when more than half of every longer name would have to change. */
int rg_suggest_many(const char *word, const char *const *names, const char **best, int max);

#endif
