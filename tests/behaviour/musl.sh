# needs: musl-gcc
# Static programs of another C library.
musl-gcc -static -O2 -w "$GUESTS/calls.c" -o calls
musl-gcc -static -O2 -w "$GUESTS/exact_compute.c" -o compute
run ./calls; echo "status $?"
run ./compute; echo "status $?"
rm calls compute
