# Runs the script that is given, with a function `run` that puts a program under `fits golden` when FITS is set, and leaves
# it as it is otherwise. Each run has its own golden folder; numbers are taken by making a folder, so that runs in
# pipes and in the background get their own too.
run() {
    if [ -z "${FITS-}" ]; then
        "$@"
        return
    fi
    local number=1
    mkdir -p "$GOLDEN"
    while ! mkdir "$GOLDEN.$number" 2>/dev/null; do
        number=$((number + 1))
    done
    "$FITS" golden --quiet --backend "$BACKEND" --stats "$LEVEL" --out "$GOLDEN/$number" -- "$@"
}
. "$1"
