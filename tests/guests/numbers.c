/* Remembers the device and inode numbers of files and folders, old and new, and asks again, by path and by descriptor: each is to have the number
   that it had, and no two the same. Prints what is wrong, and a sum of the inode numbers. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

enum { ROUNDS = 24, MOST = 8 * ROUNDS };

static struct known {
    char path[24];
    dev_t device;
    ino_t inode;
} known[MOST];
static int count;
static int wrong, twice;
static uint64_t sum;
/* Not on the stack, where times would lie about: they are others in every run. */
static struct statx extended;
static struct stat data, other;

static void check(int ok, const char *what) {
    if (!ok) {
        printf("%s: %s\n", what, strerror(errno));
        exit(9);
    }
}

static void learn(const char *path) {
    check(statx(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, STATX_INO, &extended) == 0, path);
    struct known *one = &known[count++];
    snprintf(one->path, sizeof one->path, "%s", path);
    one->device = makedev(extended.stx_dev_major, extended.stx_dev_minor);
    one->inode = extended.stx_ino;
    sum = sum * 31 + one->inode;
}

static void forget(const char *path) {
    for (int i = 0; i < count; i++)
        if (!strcmp(known[i].path, path))
            known[i--] = known[--count];
}

static void ask_again(void) {
    for (int i = 0; i < count; i++) {
        check(lstat(known[i].path, &data) == 0, known[i].path);
        /* (No checkpoint is taken of a program that reads a file which it has changed.) */
        int file = strcmp(known[i].path, "file") ? open(known[i].path, O_RDONLY | O_NOFOLLOW) : -1;
        if (file >= 0) {
            check(fstat(file, &other) == 0 && close(file) == 0, "fstat");
            wrong += other.st_dev != data.st_dev || other.st_ino != data.st_ino;
        }
        wrong += data.st_dev != known[i].device || data.st_ino != known[i].inode;
        for (int j = 0; j < i; j++)
            twice += known[i].device == known[j].device && known[i].inode == known[j].inode;
    }
}

int main(void) {
    char name[24], target[24];
    learn(".");
    learn("..");
    learn("file");
    learn("/dev/null");
    for (int round = 0; round < ROUNDS; round++) {
        snprintf(name, sizeof name, "sub/%d", round);
        learn(name);
        snprintf(name, sizeof name, "folder%d", round);
        check(mkdir(name, 0755) == 0, name);
        learn(name);
        snprintf(name, sizeof name, "folder%d/file", round);
        int file = open(name, O_RDWR | O_CREAT | O_EXCL, 0644);
        check(file >= 0 && write(file, name, 7) == 7 && close(file) == 0, name);
        learn(name);
        snprintf(name, sizeof name, "link%d", round);
        check(symlink("file", name) == 0, name);
        learn(name);
        if (round % 3 == 2) {
            /* A file goes, and a folder gets another name, and so do the files in it. */
            snprintf(name, sizeof name, "folder%d/file", round - 1);
            check(unlink(name) == 0, name);
            forget(name);
            snprintf(name, sizeof name, "folder%d", round - 1);
            snprintf(target, sizeof target, "moved%d", round - 1);
            check(rename(name, target) == 0, "rename");
            forget(name);
            learn(target);
        }
        if (round == 7) {
            /* Changed where it is, so it is the same file. */
            file = open("file", O_WRONLY | O_APPEND);
            check(file >= 0 && write(file, "more", 4) == 4 && close(file) == 0, "file");
        }
        if (round == 15) {
            check(rename("link3", "file") == 0, "replace");
            forget("link3");
            forget("file");
            learn("file");
        }
        ask_again();
    }
    printf("%d wrong, %d twice, %llx\n", wrong, twice, (unsigned long long)sum);
    return 0;
}
