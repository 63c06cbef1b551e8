# Reads `go test -json` and prints what a reader wants: one line for each
# package, everything that a failed test said, and at the end which tests were
# skipped and why. Nothing here decides whether the tests passed; go test's own
# exit status does.

# field returns the string value of a key in the JSON object s, or "".
function field(s, key,    i, out, c) {
	i = index(s, "\"" key "\":\"")
	if (!i) return ""
	s = substr(s, i + length(key) + 4)
	out = ""
	while ((i = match(s, /["\\]/))) {
		out = out substr(s, 1, i - 1)
		c = substr(s, i, 1)
		if (c == "\"") return out
		c = substr(s, i + 1, 1)
		if (c == "u") {
			out = out unicode(substr(s, i + 2, 4))
			s = substr(s, i + 6)
			continue
		}
		out = out (c == "n" ? "\n" : c == "t" ? "\t" : c == "r" ? "" : c)
		s = substr(s, i + 2)
	}
	return out
}

# unicode covers what Go's JSON encoder escapes in ordinary text.
function unicode(hex) {
	return hex == "003c" ? "<" : hex == "003e" ? ">" : hex == "0026" ? "&" : hex == "001b" ? "" : "\\u" hex
}

# Not JSON: a message of the go command itself.
!/^\{/ { print; fflush(); next }

{
	action = field($0, "Action"); pkg = field($0, "Package"); test = field($0, "Test")
	id = pkg SUBSEP test
}

action == "build-output" { printf "%s", field($0, "Output"); next }

action == "output" && test == "" {
	line = field($0, "Output")
	if (line != "PASS\n") { printf "%s", line; fflush() }
	next
}

action == "output" {
	line = field($0, "Output")
	if (line ~ /^ *=== /) next
	said[id] = said[id] line
	if (line !~ /^ *--- /) { sub(/^ +/, "", line); last[id] = line }
	next
}

action == "pass" && test != "" { passed++; delete said[id] }

action == "fail" && test != "" { failed++; printf "%s", said[id]; delete said[id]; fflush() }

action == "skip" && test != "" {
	sub(/\n$/, "", last[id])
	skips[++skipped] = "  " pkg " " test ": " last[id]
	delete said[id]
}

END {
	for (id in said) { # a test that never came to its end
		split(id, part, SUBSEP)
		printf "--- UNFINISHED: %s %s\n%s", part[1], part[2], said[id]
	}
	if (skipped) print "\nskipped:"
	for (i = 1; i <= skipped; i++) print skips[i]
	printf "\n%d passed, %d failed, %d skipped\n", passed, failed, skipped
}
