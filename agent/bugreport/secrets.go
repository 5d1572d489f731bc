package bugreport

import (
	"cmp"
	"encoding/json"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"obdagent/agent/config"
)

// removed stands where something secret was.
const removed = "[removed]"

// A cleaner removes secrets from text.
type cleaner struct {
	known    *strings.Replacer
	shapes   []shape
	header   *regexp.Regexp
	settings *regexp.Regexp
}

type shape struct {
	of   *regexp.Regexp
	with string
}

// secretName is what a variable or setting is called whose value is nobody's business.
const secretName = `secret(?:[_-]?key)?|token|passw(?:or)?d|passphrase|psk|api[_-]?key|access[_-]?key|private[_-]?key|signature`

// newCleaner returns a cleaner that knows what is in the environment and in the files that hold secrets, besides what secrets look like.
func newCleaner(cfg *config.Config, environ []string) *cleaner {
	var secrets []string
	know := func(s string) {
		// Shorter ones would tear up everything else, and are no secrets.
		if len(s) < 8 {
			return
		}
		quoted, err := json.Marshal(s)
		if err != nil { // a string always can
			return
		}
		secrets = append(secrets, s, url.QueryEscape(s), strings.Trim(string(quoted), `"`))
	}
	named := regexp.MustCompile(`(?i)` + secretName)
	env := map[string]string{}
	for _, v := range environ {
		name, value, _ := strings.Cut(v, "=")
		env[name] = value
		if named.MatchString(name) && !isFile(value) {
			know(value)
		}
	}
	for _, path := range secretFiles(cfg, env) {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // who cannot read it has not written it anywhere either
		}
		for _, word := range secretWords(string(text)) {
			know(word)
		}
	}
	slices.SortFunc(secrets, func(a, b string) int { return cmp.Or(len(b)-len(a), strings.Compare(a, b)) }) // a part of one must not hide the whole
	var pairs []string
	for _, s := range slices.Compact(secrets) {
		pairs = append(pairs, s, removed)
	}
	return &cleaner{
		known: strings.NewReplacer(pairs...),
		shapes: []shape{
			{regexp.MustCompile(`-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|\z)`), removed},
			{regexp.MustCompile(`://[^/\s@"']+@`), "://" + removed + "@"},
			{regexp.MustCompile(`\b(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{12,}\b`), removed}, // IAM User Guide, "Unique ID prefixes"
			{regexp.MustCompile(`\beyJ[\w-]{10,}\.[\w-]+\.[\w-]*`), removed},          // a JWT
		},
		header:   regexp.MustCompile(`(?i)(authorization["']?\s*[:=]\s*)[^\r\n]+`),
		settings: regexp.MustCompile(`(?i)((?:` + secretName + `)(?:[_-]?(?:id|value|\d+))?\\?["']?\s*[:=]\s*)(\\?"[^"]*"|'[^']*'|[^\s,;&"']+)`),
	}
}

// secretFiles are the files whose contents are nobody's business.
func secretFiles(cfg *config.Config, env map[string]string) (paths []string) {
	paths = []string{env["AWS_SHARED_CREDENTIALS_FILE"], env["AWS_CONFIG_FILE"], env["AWS_WEB_IDENTITY_TOKEN_FILE"]}
	if home := env["HOME"]; home != "" {
		paths = append(paths, filepath.Join(home, ".aws", "credentials"), filepath.Join(home, ".aws", "config"))
	}
	patterns := []string{"/etc/obdagent/cred*", "/run/credentials/obdagent*/*"} // systemd.exec(5): where a service's credentials lie
	if dir := env["CREDENTIALS_DIRECTORY"]; dir != "" {
		patterns = append(patterns, filepath.Join(dir, "*"))
	}
	for _, p := range patterns {
		found, err := filepath.Glob(p)
		if err != nil { // only of a bad pattern
			continue
		}
		paths = append(paths, found...)
	}
	if cfg != nil {
		paths = append(paths, cfg.Uplink.CredentialsFile, cfg.Uplink.IoT.Key)
	}
	return slices.DeleteFunc(paths, func(p string) bool { return p == "" })
}

// secretWords are the words of a credentials file or a key that are worth hiding: all that are long and no plain names.
func secretWords(text string) (words []string) {
	name := regexp.MustCompile(`^(?:[a-z_]+|[A-Za-z]+|[a-z]{2}(?:-[a-z]+)+-\d)$`) // the last are regions of AWS
	for _, w := range strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune(" \t\r\n=:,;\"'{}[]", r) }) {
		if len(w) >= 12 && !name.MatchString(w) {
			words = append(words, w)
		}
	}
	return words
}

// clean returns the text without secrets.
func (c *cleaner) clean(text string) string {
	text = c.known.Replace(text)
	for _, s := range c.shapes {
		text = s.of.ReplaceAllString(text, s.with)
	}
	var b strings.Builder
	for line := range strings.Lines(text) {
		b.WriteString(c.cleanLine(line))
	}
	return hideKeys(b.String())
}

// cleanLine removes what stands behind a name that secrets have. Most lines have none, which is found out more quickly without a pattern.
func (c *cleaner) cleanLine(line string) string {
	lower := strings.ToLower(line)
	if !slices.ContainsFunc([]string{"secret", "token", "passw", "passphrase", "psk", "key", "signature", "authorization"}, func(name string) bool { return strings.Contains(lower, name) }) {
		return line
	}
	line = c.header.ReplaceAllString(line, "${1}"+removed)
	return c.settings.ReplaceAllStringFunc(line, func(s string) string {
		m := c.settings.FindStringSubmatch(s)
		if isFile(strings.Trim(m[2], `\"'`)) {
			return s
		}
		return m[1] + removed
	})
}

// hideKeys removes each run of the letters of base64 that is an AWS secret access key by its looks, or so long that it is a session token. By
// hand: a pattern for it would stop at every word of a log.
func hideKeys(text string) string {
	var b strings.Builder
	kept := 0 // all before it is in b
	for i := 0; i < len(text); i++ {
		if !keyLetter(text[i]) {
			continue
		}
		from := i
		for i < len(text) && keyLetter(text[i]) {
			i++
		}
		if run := text[from:i]; len(run) >= 100 || looksLikeAWSSecret(run) {
			b.WriteString(text[kept:from])
			b.WriteString(removed)
			kept = i
		}
	}
	b.WriteString(text[kept:])
	return b.String()
}

// awsSecretLen is how long a secret access key of AWS is: the base64 of 30 bytes.
const awsSecretLen = 40

// keyLetter tells whether a secret access key of AWS may have this letter, also as its first.
func keyLetter(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '/' || c == '+'
}

// isFile tells the name of a file from a secret. One that could be a secret access key is taken for it: one in 64 begins with a slash.
func isFile(value string) bool {
	other := func(r rune) bool { return r >= 0x80 || !keyLetter(byte(r)) }
	return strings.HasPrefix(value, "/") && (len(value) != awsSecretLen || strings.ContainsFunc(value, other))
}

// looksLikeAWSSecret tells such a key from most paths, and from a hash in hex.
func looksLikeAWSSecret(s string) bool {
	return len(s) == awsSecretLen &&
		strings.ContainsAny(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") && strings.ContainsAny(s, "ghijklmnopqrstuvwxyz") && strings.ContainsAny(s, "0123456789")
}
