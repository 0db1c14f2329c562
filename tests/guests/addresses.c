// Every address that the program sees is the one it has natively with address-space randomisation off: the transcript is
// compared with a native run under `setarch -R`.
#include "guest.h"
#include <dlfcn.h>
#include <pthread.h>
#include <sys/auxv.h>

static int in_data = 1;
static __thread int in_thread_storage;

static void *in_thread(void *unused) {
    int local;
    printf("thread: stack %p, storage %p\n", (void *)&local, (void *)&in_thread_storage);
    return unused;
}

int main(int argc, char **argv, char **environment) {
    int local = 0;
    printf("code %p, data %p, stack %p, arguments %p, environment %p\n", (void *)(uintptr_t)main, (void *)&in_data,
           (void *)&local, (void *)argv, (void *)environment);
    printf("brk %p, heap %p, large %p\n", sbrk(0), malloc(100), malloc(1 << 20));
    printf("library %p, storage %p\n", dlsym(RTLD_DEFAULT, "printf"), (void *)&in_thread_storage);
    for (int i = 0; i < 5; i++)
        printf("mmap %p\n", mmap(NULL, 4096u << (3 * i), PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    printf("low %p\n", mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0));
    printf("near %p\n", mmap((void *)0x10000000, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    pthread_t thread;
    for (int i = 0; i < 2; i++) {
        pthread_create(&thread, NULL, in_thread, NULL);
        pthread_join(thread, NULL);
    }
    void *big = mmap(NULL, 1ull << 36, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    printf("64 GiB %p\n", big);
    printf("argc %d, auxv phdr %#lx entry %#lx base %#lx execfn %s\n", argc, getauxval(AT_PHDR), getauxval(AT_ENTRY),
           getauxval(AT_BASE), (char *)getauxval(AT_EXECFN));
    return guest_end();
}
