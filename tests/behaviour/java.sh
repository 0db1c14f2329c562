# needs: java
# long
# A virtual machine: Hello World from source where there is a compiler, else its version.
cat >Hello.java <<'JAVA'
public class Hello {
    static long fib(int n) { return n < 2 ? n : fib(n - 1) + fib(n - 2); }
    public static void main(String[] arguments) throws Exception {
        System.out.println("Hello, World");
        System.out.println(fib(25));
        try { Object[] none = new Object[1]; none[0].toString(); } catch (NullPointerException e) { System.out.println("caught"); }
        try { recurse(0); } catch (StackOverflowError e) { System.out.println("overflow"); }
        long[] sum = new long[4]; Thread[] threads = new Thread[4];
        for (int i = 0; i < 4; i++) { int id = i; threads[i] = new Thread(() -> { for (int k = 0; k < 100000; k++) sum[id] += k ^ id; }); threads[i].start(); }
        for (Thread t : threads) t.join();
        System.out.println(sum[0] + sum[1] + sum[2] + sum[3]);
        System.exit(4);
    }
    static int recurse(int n) { return recurse(n + 1) + 1; }
}
JAVA
if command -v javac >/dev/null; then
    javac Hello.java
    run java -Xshare:auto Hello; echo "status $?"
    rm *.class
fi
run java -version; echo "status $?"
