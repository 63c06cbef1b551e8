package docs_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
)

// quoted are phrases of architecture.md with a number that a constant holds;
// one in KiB is written as N << 10 in the code.
var quoted = []struct{ file, constant, phrase string }{
	{"../tunnel/wait.go", "yields", "is looked at %s more times"},
	{"../tunnel/wait.go", "yields", "%s yields are no busy poll"},
	{"../tunnel/inbox.go", "inboxMessages", "up to %s messages with one `recvmmsg`"},
	{"../tunnel/inbox.go", "inboxMessages", "`tunnel.Inbox`: %s buffers of 64 KiB"},
	{"../tunnel/batch.go", "batchFull", "at %s KiB or "},
	{"../tunnel/batch.go", "batchFull", "in %s KiB and room for one superpacket more"},
	{"../tunnel/batch.go", "batchPackets", "KiB or %s packets"},
	{"../tunnel/batch.go", "batchPackets", "`tunnel.Batch`: %s packets"},
	{"../encap/coalesce.go", "flows", "Up to %s flows"},
	{"../encap/coalesce.go", "flows", "`encap.Coalescer`: %s flows"},
}

// The numbers in architecture.md are those of the code.
func TestNumbersAreTheCodes(t *testing.T) {
	text := strings.Join(strings.Fields(read(t, "architecture.md")), " ")
	for _, q := range quoted {
		assigned := regexp.MustCompile(`(?m)^(?:const |\s+)` + q.constant + `\s+= (\d+)( << 10)?\s*(?://.*)?$`)
		m := assigned.FindStringSubmatch(read(t, q.file))
		if m == nil || (m[2] != "") != strings.Contains(q.phrase, "%s KiB") {
			t.Errorf("%s: the value of %s is not found as %q expects it", q.file, q.constant, q.phrase)
			continue
		}
		if want := fmt.Sprintf(q.phrase, m[1]); !regexp.MustCompile(`(?:^|\D)` + regexp.QuoteMeta(want)).MatchString(text) {
			t.Errorf("architecture.md does not say %q, as %s in %s has it", want, q.constant, q.file)
		}
	}
}
