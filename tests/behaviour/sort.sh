# Sorting in several ways, with threads of its own.
run sort "$INPUT/text.txt" >sorted
run sort -rnk2 -t, "$INPUT/table.csv" | head -100
run sort -u --parallel=2 -S 1M "$INPUT/text.txt" >unique
run sort -c sorted; echo "status $?"
run sort -c "$INPUT/text.txt"; echo "status $?"
