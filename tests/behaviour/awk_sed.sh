# awk and sed on a table and a text.
run awk -F, '{ count[$2]++; sum += $3; if ($4 > most) most = $4 } END { for (w in count) n++; print n, sum, most; printf "%.6f\n", sqrt(sum) }' "$INPUT/table.csv"
run awk 'length($0) > 80 { gsub(/ka/, "<&>"); print toupper(substr($0, 1, 40)) }' "$INPUT/small.txt" | tail -20
run sed -E -e 's/([a-z]+) ([a-z]+)/\2 \1/g' -e '/9$/d' -e '$!N;P;D' "$INPUT/text.txt" >swapped
run sed -n '100,120p;200q' "$INPUT/text.txt"
cp "$INPUT/small.txt" copy
run sed -i 's/zin/ZIN/' copy
