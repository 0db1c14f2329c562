# A long listing of a large tree.
run ls -lR /usr/include >listing
run ls --color=always -la "$INPUT"
run ls /does/not/exist
