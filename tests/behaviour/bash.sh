# A shell with pipes, subshells, traps, background jobs, expansions; its children run free.
cat >script.bash <<'BASH'
trap 'echo leaving $?' EXIT
trap 'echo usr1' USR1
kill -USR1 $$
total=0; for i in {1..300}; do ((total += i * i)); done; echo $total
(cd /; pwd; exit 3); echo "subshell $?"
seq 1 1000 | grep 7 | sort -r | head -3
sleep 0.1 & first=$!; (exit 6) & second=$!; wait $first; echo $?; wait $second; echo $?
declare -A map=([a]=1 [b]=2); for key in $(printf '%s\n' "${!map[@]}" | sort); do echo "$key ${map[$key]}"; done
text="one two three"; echo "${text//o/0} ${#text} ${text%% *} $(echo $((0x1f ^ 3)))"
while read -r line; do echo "[$line]"; done < <(printf 'x\ny\n')
cat <<< "here string" | tr a-z A-Z
false | true; echo "${PIPESTATUS[@]}"
f() { local n=$1; ((n <= 1)) && { echo 1; return; }; echo $((n * $(f $((n - 1))))); }; f 6
coproc CAT { cat; }; echo through >&"${CAT[1]}"; read -r back <&"${CAT[0]}"; echo "$back"; exec {CAT[1]}>&-
timeout 0.2 sleep 5; echo "timeout $?"
exit 8
BASH
run bash script.bash; echo "status $?"
# The shell's own line about a killed child has its number in it.
{ run dash -c 'x=1; while [ $x -le 5 ]; do x=$((x+1)); done; echo $x; kill -9 $$'; echo "status $?"; } 2>/dev/null
