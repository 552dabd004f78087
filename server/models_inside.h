/* Shared by models_routes.c (lists, details, deletion), models_upload.c and models_comfy.c (ComfyUI's own routes). */
#ifndef RG_SERVER_MODELS_INSIDE_H
#define RG_SERVER_MODELS_INSIDE_H

#include <dirent.h>
#include <pthread.h>
#include <sys/stat.h>

#include "engine/core/sha256.h"
#include "engine/weights/model_file.h"
#include "server/comfy_inside.h"
#include "server/models.h"
#include "server/models_describe.h"
#include "server/service_inside.h"

enum { MAX_UPLOADS = 8, MAX_SUMS = 16 };        /* at once; remembered */

/* An upload that runs now. Between its requests an upload is nothing but its file. */
typedef struct upload {
    struct upload *next;
    rg_models *models;
    rg_request *r;
    char *target;                       /* models_target(), once it is admitted: what two uploads may not share */
    int64_t received, total;
    bool is_taken_over;                 /* a newer request goes on with it */
} upload;

struct rg_models {
    rg_models_options options;
    rg_server *server;
    rg_executor *executor;

    pthread_mutex_t lock;               /* all below */
    pthread_cond_t changed;
    upload *uploads;                    /* from their start until they answer */
    int n_uploads;                      /* their threads */
    /* checksums of what has arrived of uploads that wait for their next piece, so that it is not read again for each */
    struct { char *target; int64_t n_bytes; rg_sha256 sum; } sums[MAX_SUMS];
    int next_sum;
    bool is_stopping;
    pthread_t janitor;
    bool has_janitor;

    pthread_mutex_t admission;          /* held while an upload is admitted: two may not share the last free bytes. Before lock */
};

/* What an unfinished upload's file is called: ".NAME.TOTAL.SHA256.upload", with "-" for a checksum that was not given. */
typedef struct part_name {
    char name[RG_MODEL_NAME_MAX + 1];   /* of the file it will be */
    int64_t total;
    char sha256[65];                    /* "" when not given */
} part_name;
void part_name_write(const part_name *p, char out[256]);
bool part_name_read(const char *file, part_name *out);          /* false: it is none */

/* The unfinished upload of a name in a folder. False: there is none. */
bool find_part(int dir, const char *name, part_name *out, char file[256], struct stat *st);

/* Device and inode of a folder, and the name in it; rg_free() it. */
char *models_target(int dir, const char *name);
bool models_stop_upload(rg_models *m, const char *target);      /* of somebody else; waits until it has. False: it has not */

/* Keys that hold models, and may be written to: those of ComfyUI, those the program was told of, and what files exist for. */
bool models_is_folder(rg_models *m, const char *key);

/*
 * The place of key/name on disk, as a folder that is open and the file's own name in it.
 *   is_made  for a new file: in the first of the key's folders that can be written to; folders are made
 *   returns  0, or the status of a refusal, with the reason in text
 */
typedef struct place {
    int dir;                            /* close() it */
    const char *base;                   /* in name */
    char *root;                         /* the key's folder that it is below; rg_free() it */
    bool is_there;
} place;
int models_place(rg_models *m, const char *key, const char *name, bool is_made, place *out, char *text, size_t text_size);
void place_release(place *p);
bool models_is_kept(rg_models *m, const char *path);    /* below the directory that is never changed */

/* What is known of a file: size, time, checksum, and what its header says. */
struct json_object *models_describe(const char *key, const char *name, const place *p);

/* All files of the model folders and the unfinished uploads, counted once each. */
typedef struct models_usage {
    uint64_t bytes;                     /* unfinished uploads with their full size */
    struct json_object *uploads;        /* NULL: not wanted; else a list that is filled */
    double oldest;                      /* uploads untouched since before this time are removed; 0: none */
} models_usage;
void models_walk(rg_models *m, models_usage *u);

/* A file is another one now, or gone: nobody is served from what was made of it. Jobs that run keep what they have. */
void models_changed(rg_models *m);

/* ?NAME=1, true or yes */
bool models_flag(rg_request *r, const char *name);

/* Answers: the longer forms of GET /models/{folder} and GET /models. */
void models_list_folder(rg_models *m, rg_request *r, const char *key);
void models_list_all(rg_models *m, rg_request *r);

void models_add_upload_routes(rg_models *m);
void models_add_comfy_routes(rg_models *m);

#endif
