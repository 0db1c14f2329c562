# needs: node
# long
# A just-in-time compiler: loops that it optimises, objects, expressions, timers, promises, a child, an error.
cat >script.js <<'JS'
const fib = n => n < 2 ? n : fib(n - 1) + fib(n - 2);
console.log(fib(24));
const words = require('fs').readFileSync(process.argv[2], 'utf8').match(/\bka\w*/g);
const count = {}; for (const w of words) count[w] = (count[w] || 0) + 1;
console.log(Object.entries(count).sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1)).slice(0, 5));
let hash = 0; for (let i = 0; i < 3e6; i++) hash = (hash * 31 + (i ^ (i >> 3))) | 0; console.log(hash);
console.log(require('crypto').createHash('sha256').update(words.join()).digest('hex'));
class A { #x = 1; get x() { return this.#x++; } } const a = new A(); console.log(a.x + a.x, [..."αβγ"].reverse().join(''));
(async () => { await new Promise(r => setTimeout(r, 20)); console.log('later'); console.log(require('child_process').execSync('echo child').toString());
  const { Worker } = require('worker_threads'); const w = new Worker("require('worker_threads').parentPort.postMessage(6*7)", { eval: true });
  w.on('message', m => console.log('worker', m)); w.on('exit', c => { console.log('exit', c); throw new TypeError('on purpose'); }); })();
process.on('unhandledRejection', e => { console.log('rejected'); });
process.on('uncaughtException', e => { console.log('uncaught', e.message); process.exit(9); });
JS
run node -e 'console.log([1,2,3].map(x => x * x).join())'; echo "status $?"
run node script.js "$INPUT/small.txt"; echo "status $?"
