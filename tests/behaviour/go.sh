# needs: go
# long
# A Go program with goroutines, its own stacks, its own scheduler and signals.
cat >main.go <<'GO'
package main

import (
	"fmt"
	"os"
	"sort"
	"strings"
	"sync"
	"time"
)

func fib(n int) int {
	if n < 2 {
		return n
	}
	return fib(n-1) + fib(n-2)
}

func main() {
	var group sync.WaitGroup
	results := make(chan int, 100)
	for i := 0; i < 50; i++ {
		group.Add(1)
		go func(n int) { defer group.Done(); results <- fib(n % 20) }(i)
	}
	group.Wait()
	close(results)
	sum := 0
	for r := range results {
		sum += r
	}
	fmt.Println(sum)
	data, _ := os.ReadFile(os.Args[1])
	count := map[string]int{}
	for _, w := range strings.Fields(string(data)) {
		count[w]++
	}
	keys := []string{}
	for k := range count {
		keys = append(keys, k)
	}
	sort.Slice(keys, func(a, b int) bool { return count[keys[a]] > count[keys[b]] || count[keys[a]] == count[keys[b]] && keys[a] < keys[b] })
	fmt.Println(keys[:5])
	timer := time.After(20 * time.Millisecond)
	ticks := 0
loop:
	for {
		select {
		case <-timer:
			break loop
		default:
			ticks++
		}
	}
	fmt.Println(ticks > 0)
	func() {
		defer func() { fmt.Println("recovered:", recover()) }()
		var none *struct{ x int }
		fmt.Println(none.x)
	}()
	os.Exit(3)
}
GO
GOCACHE=$PWD/cache GOFLAGS=-mod=mod go build -o program main.go && rm -rf cache
run ./program "$INPUT/small.txt"; echo "status $?"
rm program
