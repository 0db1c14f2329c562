# Searching: recursive, with expressions, with nothing found.
run grep -r -n 'berka[a-z]*zin' "$INPUT/tree" | sed "s:$INPUT::"
run grep -rlE '^(ka|lo){2}.*9$' "$INPUT/tree" | sed "s:$INPUT::" | sort
run grep -c -i KALO "$INPUT/text.txt"
run grep -P '(?<=dan)gol\w+?(?=ta)' -o "$INPUT/small.txt" | sort | uniq -c | head
run grep nothinglikethis "$INPUT/text.txt"; echo "status $?"
run grep -rh define /usr/include/linux/ | sort | head -200
