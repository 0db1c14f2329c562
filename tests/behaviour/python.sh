# needs: python3
# Python with much of its library.
cat >script.py <<'PYTHON'
import json, re, hashlib, sqlite3, threading, subprocess, decimal, ctypes, collections, zlib, random, sys, signal, os, time
text = open(sys.argv[1]).read()
words = collections.Counter(re.findall(r"\b(?:ka|lo)\w*", text))
print(json.dumps(sorted(words.items(), key=lambda item: (-item[1], item[0]))[:10], indent=1))
print({name: hashlib.new(name, text.encode()).hexdigest()[:16] for name in ("md5", "sha1", "sha256", "sha512", "blake2b")})
base = sqlite3.connect(":memory:")
base.execute("create table words(word text, count int)")
base.executemany("insert into words values(?, ?)", words.items())
print(base.execute("select count(*), sum(count), max(word) from words where word like 'k%'").fetchall())
decimal.getcontext().prec = 60
print(decimal.Decimal(2).sqrt(), decimal.Decimal(1) / 7)
total, lock = [0], threading.Lock()
def work(amount):
    for _ in range(500):
        with lock: total[0] += amount
threads = [threading.Thread(target=work, args=(i,)) for i in range(6)]
[thread.start() for thread in threads]; [thread.join() for thread in threads]
print(total)
print(subprocess.run(["sh", "-c", "echo from a child; exit 4"], capture_output=True))
print(subprocess.check_output([sys.executable, "-S", "-c", "print(6 * 7)"]))
libc = ctypes.CDLL(None)
compare = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_int), ctypes.POINTER(ctypes.c_int))(lambda a, b: a[0] - b[0])
numbers = (ctypes.c_int * 20)(*[i * 7919 % 101 for i in range(20)])
libc.qsort(numbers, 20, 4, compare)
print(list(numbers), libc.strlen(b"twelve chars"))
random.seed(5); print([random.randint(0, 99) for _ in range(10)], zlib.crc32(text.encode()), len(zlib.compress(text.encode(), 9)))
got = []
signal.signal(signal.SIGALRM, lambda number, frame: got.append(number)); signal.setitimer(signal.ITIMER_REAL, 0.05); time.sleep(0.3); print(got)
pid = os.fork()
if pid == 0: os._exit(9)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
def generate(n):
    if n: yield n; yield from generate(n - 1)
try: print(sum(generate(200)), 2 ** 300 % 1000007); [][1]
except IndexError as error: print("caught", error)
print(f"{3.14159:.3f} {1e300 * 1e10} {0.1 + 0.2!r}", file=sys.stderr)
sys.exit(5)
PYTHON
run /usr/bin/python3 script.py "$INPUT/small.txt"; echo "status $?"
run /usr/bin/python3 -c 'raise SystemError("on purpose")'; echo "status $?"
