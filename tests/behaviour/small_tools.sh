# Small programs, and ends that are not 0.
run true; echo "status $?"
run false; echo "status $?"
run echo -e 'a\tb\0101'
run cat "$INPUT/data.bin" | md5sum
run head -c 1000 /dev/zero | run od -c
run dd if="$INPUT/data.bin" of=copy bs=1000 count=50 status=none
run cp -r "$INPUT/tree" tree
run find tree -name '*1*.txt' | sort
run tar -C tree --sort=name --mtime=@0 --owner=0 --group=0 -cf tree.tar .
run tar -tvf tree.tar | head -5
run diff "$INPUT/tree/1.txt" "$INPUT/tree/2.txt" | head -40
run diff -q "$INPUT/tree/1.txt" "$INPUT/tree/1.txt"; echo "status $?"
run date -u -d @1700000000
run seq -w 1 3 100
run factor 1234567890123 600851475143
run env -i A=1 env
run expr 6 '*' 7
run timeout 0.3 sleep 10; echo "status $?"
run nproc --all
run uname -m
run id -u
run xargs -n3 echo <<<"1 2 3 4 5 6 7"
run tr a-z A-Z <"$INPUT/small.txt" | run tail -3
run cut -d, -f2,4 "$INPUT/table.csv" | run uniq | run head -20
run join <(printf 'a 1\nb 2\n') <(printf 'a x\nb y\n')
