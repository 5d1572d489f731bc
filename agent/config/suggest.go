package config

import "strings"

// nearest returns the candidate that word was probably meant to be, or "": the one with the least edit distance, if that is
// at most two, or a third of the word.
func nearest(word string, candidates []string) string {
	limit := max(2, len(word)/3)
	if len(word) <= 2 {
		limit = 1 // anything is within two of so short a word
	}
	best := ""
	for _, c := range candidates {
		if d := distance(word, c); d <= limit {
			best, limit = c, d-1
		}
	}
	return best
}

// distance is the least number of insertions, deletions, replacements and swaps of neighbours that turn a into b, where no
// place is edited twice (optimal string alignment).
func distance(a, b string) int {
	// Longer words are never near to a key; the bound keeps hostile input from costing its square.
	const longest = 80
	if len(a) > longest || len(b) > longest {
		return longest
	}
	before, above, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range above {
		above[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(above[j]+1, row[j-1]+1, above[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, above, row = above, row, before
	}
	return above[len(b)]
}

// speedPeriod is what people write who do not know that speed needs no period.
const (
	speedPeriod        = "obd.period.speed"
	speedIsAlwaysAsked = "speed is always asked, as often as the others leave time for; leave it out"
)

// unknownKey says what to do about a key that does not exist.
func unknownKey(name string) string {
	if name == speedPeriod {
		return speedIsAlwaysAsked
	}
	if s := suggestKey(name); s != "" {
		return "unknown key; did you mean " + s + "?"
	}
	return "unknown key; list them with: obdagent config show"
}

// suggestKey finds the key that an unknown one was meant to be: one of the same last part in another section, which is what a
// forgotten or mistaken section header gives, or the nearest by spelling.
func suggestKey(name string) string {
	last := name[strings.LastIndexByte(name, '.')+1:]
	elsewhere, found := "", 0
	for i := range keys {
		if k := keys[i].name; k[strings.LastIndexByte(k, '.')+1:] == last {
			elsewhere, found = k, found+1
		}
	}
	if found == 1 {
		return elsewhere
	}
	return nearest(name, keyNames())
}

// unknownSection says what to do about a section that does not exist.
func unknownSection(name string) string {
	if s := nearest(name, sections()); s != "" {
		return "unknown section; did you mean [" + s + "]?"
	}
	return "unknown section; the sections are [" + strings.Join(sections(), "] [") + "]"
}
