package main

import (
	"context"
	"os"
)

func main() {
	io := stdio{in: os.Stdin, out: os.Stdout, err: os.Stderr}
	os.Exit(run(context.Background(), os.Args, os.Environ(), io))
}
