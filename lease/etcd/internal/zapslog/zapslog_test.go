package zapslog

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"go.uber.org/zap"
)

func TestCore(t *testing.T) {
	var out bytes.Buffer
	level := new(slog.LevelVar)
	log := New(slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: level}))).With(zap.String("member", "a"))
	log.Error("not shown", zap.Int("n", 1))
	if out.Len() != 0 {
		t.Errorf("at info level: %s", &out)
	}
	level.Set(slog.LevelDebug)
	log.Warn("shown", zap.Int("n", 1))
	for _, want := range []string{"level=DEBUG", `msg="etcd: shown"`, "etcd_level=warn", "member=a", "n=1"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%s lacks %s", &out, want)
		}
	}
}
