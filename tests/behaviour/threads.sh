# needs: gcc
# Eight threads with mutexes, condition variables, cancellation, thread-local storage and timers.
gcc -O2 -w "$GUESTS/threads.c" -o threads -lpthread
for i in 1 2 3; do run ./threads; echo "status $?"; done
rm threads
