# Random faults over all locations, operations and most durations, one a line: awk -v seed=1 -v count=100 -v threads=1 -f faults.awk
function pick(text,   parts, n) { n = split(text, parts, " "); return parts[1 + int(rand() * n)] }
function bits(width,   low, kind) {
  kind = int(rand() * 4); low = int(rand() * width)
  if (kind == 0) return low
  if (kind == 1) return low "," (low + 1 + int(rand() * (width - 1))) % width
  if (kind == 2) return low "-" (low + 3 < width ? low + 3 : width - 1)
  return "byte" int(rand() * width / 8)
}
function change(width,   op) {
  op = pick("flip flip flip stuck0 stuck1 set xor random")
  if (op == "set") return "set=0x" sprintf("%x", int(rand() * 16)) ":0-3"
  if (op == "xor") return "xor=0x" sprintf("%x", 1 + int(rand() * 255))
  return op ":" bits(width)
}
BEGIN {
  srand(seed)
  for (i = 0; i < count; i++) {
    kind = pick("reg reg reg flag vector mem mem rreg wreg rval wval raddr waddr text cf target skip")
    if (kind == "reg") f = "reg:" pick("rax rbx rcx rdx rsi rdi rbp rsp r8 r9 r10 r11 r12 r13 r14 r15 rip") ":" change(64)
    else if (kind == "flag") f = "reg:" pick("cf pf af zf sf of df")
    else if (kind == "vector") f = "reg:" pick("xmm0 xmm1 xmm5 ymm0 ymm2 st0 k1") ":" change(64)
    else if (kind == "mem") f = "mem:" pick("stack heap data sp+16") ":" change(8)
    else if (kind == "rreg" || kind == "wreg") f = kind ":" change(8)
    else if (kind == "rval" || kind == "wval") f = kind ":" change(8)
    else if (kind == "raddr" || kind == "waddr") f = kind ":" int(rand() * 47)
    else if (kind == "text") f = "text:" int(rand() * 8)
    else if (kind == "cf" || kind == "skip") f = kind
    else f = "cf:target:" int(rand() * 12)
    if (kind != "cf" && kind != "skip" && kind != "target" && kind != "text" && kind !~ /addr/ && rand() < 0.15) f = f "/" pick("5 50 300")
    thread = threads > 1 ? ",thread=" int(rand() * threads) : ""
    print f "@random" thread ",seed=" sprintf("%.0f", i + 1000 * seed)
  }
}
