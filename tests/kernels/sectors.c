/* Reads sectors of a disk past the page cache, and says what came of each read.

     sectors DISK FIRST[+COUNT]…   */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int main(int count, char **words) {
    int disk = count > 1 ? open(words[1], O_RDONLY | O_DIRECT) : -1;
    void *buffer;
    if (disk < 0 || posix_memalign(&buffer, 4096, 65536)) {
        perror("sectors");
        return 1;
    }
    for (int i = 2; i < count; i++) {
        char *end;
        long first = strtol(words[i], &end, 10), number = *end == '+' ? atol(end + 1) : 1;
        errno = 0;
        long done = pread(disk, buffer, 512 * number, 512 * first);
        printf("sectors: %ld+%ld: %ld, error %d\n", first, number, done, errno);
        fflush(stdout);
    }
    return 0;
}
