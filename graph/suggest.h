/* "Did you mean": the nearest name to a misspelt word. */
#ifndef RG_GRAPH_SUGGEST_H
#define RG_GRAPH_SUGGEST_H

/* The one of names (NULL-terminated) nearest to word by edits, ignoring case; NULL if none is near enough to be meant. Borrowed. */
const char *rg_suggest(const char *word, const char *const *names);

#endif
