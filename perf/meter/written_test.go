package meter

import (
	"os"
	"testing"
)

func TestWritten(t *testing.T) {
	before, err := Written(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	if _, err := null.Write(make([]byte, 12345)); err != nil {
		t.Fatal(err)
	}
	after, err := Written(os.Getpid())
	if err != nil || after < before+12345 {
		t.Errorf("%d bytes written, then %d, %v, want 12345 more", before, after, err)
	}
	if n, err := Written(1 << 30); err == nil {
		t.Errorf("a process that is not there has written %d", n)
	}
}
