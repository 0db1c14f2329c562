# needs: git
# The history of a small repository.
export GIT_AUTHOR_NAME=A GIT_AUTHOR_EMAIL=a@example.org GIT_COMMITTER_NAME=A GIT_COMMITTER_EMAIL=a@example.org
export GIT_CONFIG_NOSYSTEM=1
/usr/bin/git init -q -b main repository && cd repository
for i in $(seq 1 12); do
    head -n $((i * 40)) "$INPUT/small.txt" | sed "s/ka/k$i/" >file
    head -n $((600 - i * 30)) "$INPUT/small.txt" >other
    export GIT_AUTHOR_DATE="2026-01-$(printf %02d $i)T12:00:00Z" GIT_COMMITTER_DATE="2026-01-$(printf %02d $i)T12:00:00Z"
    /usr/bin/git add . && /usr/bin/git commit -q -m "Change $i"
done
run /usr/bin/git log -p --stat >../log
run /usr/bin/git log --oneline --graph
run /usr/bin/git diff HEAD~3 HEAD --word-diff | sha256sum
run /usr/bin/git blame file | sha256sum
run /usr/bin/git fsck --full
run /usr/bin/git gc -q; echo "status $?"
run /usr/bin/git show nothing; echo "status $?"
