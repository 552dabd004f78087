/* See model_file.h. */
#include "engine/weights/model_file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "engine/core/utf8.h"

enum { MAX_DEPTH = 8, MAX_PATH_BYTES = 1024 };

int rg_model_name_check(const char *name, char *text, size_t text_size)
{
    const size_t n = strlen(name);
    const char *problem = NULL;
    int depth = 0;

    if (n > MAX_PATH_BYTES || !rg_utf8_is_valid(name, n))
        problem = n > MAX_PATH_BYTES ? "it is too long" : "it is not UTF-8";
    for (size_t i = 0; i < n && !problem; i++)
        if ((unsigned char)name[i] < 32 || name[i] == 127 || name[i] == '\\')
            problem = name[i] == '\\' ? "folders are told apart by \"/\"" : "it holds a control character";
    for (const char *p = name; !problem; p++) {
        const char *end = strchrnul(p, '/');

        if (end == p)
            problem = *name ? "a part of it is empty" : "it is empty";
        else if (*p == '.')
            problem = "no part of it may begin with a point";
        else if (++depth > MAX_DEPTH)
            problem = "its folders are too deep";
        else if (end - p > RG_MODEL_NAME_MAX)
            problem = "a part of it has more than 150 bytes";
        if (!*end)
            break;
        p = end;
    }
    if (!problem)
        return 0;
    snprintf(text, text_size, "\"%.200s\" is no name for a model file: %s", name, problem);
    return RG_ERR_INVALID;
}

int rg_model_dir_open(const char *root, const char *name, bool is_made, const char **base)
{
    int dir = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (dir < 0)
        return -1;
    for (const char *slash; (slash = strchr(name, '/')); name = slash + 1) {
        char part[RG_MODEL_NAME_MAX + 2];
        int next = -1;

        if (slash == name || slash - name >= (int)sizeof(part) || *name == '.') {
            errno = EINVAL;             /* rg_model_name_check() was not asked */
        } else {
            memcpy(part, name, (size_t)(slash - name));
            part[slash - name] = '\0';
            if (is_made)
                mkdirat(dir, part, 0777);
            next = openat(dir, part, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        }
        const int reason = errno;
        close(dir);
        errno = reason;
        if ((dir = next) < 0)
            return -1;
    }
    *base = name;
    return dir;
}

int rg_model_file_publish(int dir, const char *part, const char *name, bool may_replace)
{
    const int fd = openat(dir, part, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    int ret = fd >= 0 && (fsync(fd) == 0 || errno == EINVAL) ? 0 : RG_ERR_IO;

    if (!ret && may_replace) {
        ret = renameat(dir, part, dir, name) < 0 ? RG_ERR_IO : 0;
    } else if (!ret && renameat2(dir, part, dir, name, RENAME_NOREPLACE) < 0) {
        ret = errno == EEXIST ? RG_ERR_EXISTS : RG_ERR_IO;
        if (errno == EINVAL || errno == ENOSYS) {       /* a file system that cannot: a second name, then without the first */
            ret = linkat(dir, part, dir, name, 0) == 0 ? 0 : errno == EEXIST ? RG_ERR_EXISTS : RG_ERR_IO;
            if (ret == RG_ERR_IO && (errno == EPERM || errno == EOPNOTSUPP || errno == EMLINK)) {
                struct stat st;         /* no second names either: what is left has a gap between looking and renaming */
                ret = fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0 ? RG_ERR_EXISTS
                    : renameat(dir, part, dir, name) == 0 ? 0 : RG_ERR_IO;
            } else if (!ret) {
                unlinkat(dir, part, 0);
            }
        }
    }
    const int reason = errno;
    if (fd >= 0)
        close(fd);
    if (!ret)
        fsync(dir);                     /* the name too: what was called done is there after a power cut */
    errno = reason;
    return ret;
}

/* ---- checksums ------------------------------------------------------------------------------------------------------------- */

static bool note_name(const char *name, char *note, size_t size)
{
    return snprintf(note, size, "%s.sha256", name) < (int)size;
}

/* "size 1234 modified 1763667000.123456789" of a file, as it stands in the note. */
static bool stamp(int dir, const char *name, char *text, size_t size)
{
    struct stat st;

    if (fstatat(dir, name, &st, 0) < 0 || !S_ISREG(st.st_mode))
        return false;
    snprintf(text, size, "size %" PRId64 " modified %" PRId64 ".%09ld", (int64_t)st.st_size, (int64_t)st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
    return true;
}

bool rg_model_sha256_read(int dir, const char *name, char hex[65])
{
    char note[256], text[1024], wanted[128], *line;
    const int fd = note_name(name, note, sizeof(note)) ? openat(dir, note, O_RDONLY | O_CLOEXEC | O_NONBLOCK) : -1;
    const ssize_t n = fd >= 0 ? read(fd, text, sizeof(text) - 1) : -1;

    if (fd >= 0)
        close(fd);
    if (n <= 0 || !stamp(dir, name, wanted, sizeof(wanted)))
        return false;
    text[n] = '\0';
    if (!(line = strchr(text, '\n')) || strncmp(text, "# ", 2))
        return false;
    *line++ = '\0';
    if (strcmp(text + 2, wanted) || strspn(line, "0123456789abcdef") != 64 || line[64] != ' ')
        return false;
    memcpy(hex, line, 64);
    hex[64] = '\0';
    return true;
}

int rg_model_sha256_write(int dir, const char *name, const char hex[65])
{
    char note[256], text[1024], about[128];
    int fd, ret = RG_ERR_IO;

    if (!note_name(name, note, sizeof(note)) || !stamp(dir, name, about, sizeof(about)))
        return ret;
    const int n = snprintf(text, sizeof(text), "# %s\n%s  %s\n", about, hex, name);
    if ((fd = openat(dir, note, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0666)) < 0)
        return ret;
    if (write(fd, text, (size_t)n) == n)        /* half a note is no note: it does not parse */
        ret = 0;
    close(fd);
    return ret;
}

void rg_model_sha256_remove(int dir, const char *name)
{
    char note[256];

    if (note_name(name, note, sizeof(note)))
        unlinkat(dir, note, 0);
}

/* ------------------------------------------------------------------------------------------------------------------------------ */

bool rg_model_is_safetensors(const char *name)
{
    const char *dot = strrchr(name, '.');

    return dot && (!strcasecmp(dot, ".safetensors") || !strcasecmp(dot, ".sft"));
}

uint64_t rg_model_free_bytes(int dir)
{
    struct statvfs v;

    return fstatvfs(dir, &v) == 0 ? (uint64_t)v.f_bavail * v.f_frsize : UINT64_MAX;
}
