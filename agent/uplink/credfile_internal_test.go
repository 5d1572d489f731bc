package uplink

import (
	"regexp"
	"strings"
	"testing"
)

// credentialsError is all that may be said about a file of keys: lines by number and keys by name, nothing of what is in it.
var credentialsError = regexp.MustCompile(`^(line \d+ has no =; write aws_access_key_id = and its value|it holds neither aws_access_key_id nor aws_secret_access_key in \[default\]|` +
	`aws_access_key_id is missing|aws_secret_access_key is missing|reading its lines: bufio\.Scanner: token too long)$`)

// Whatever is in the file: keys that stand in it, whole, or an error that quotes nothing of it.
func FuzzParseCredentials(f *testing.F) {
	f.Add("[default]\naws_access_key_id = AKID\naws_secret_access_key = a/b+c==\naws_session_token=t\n")
	f.Add("\ufeffAWS_ACCESS_KEY_ID=AKID\r\nAWS_SECRET_ACCESS_KEY=s\r\n")
	f.Add("# keys\n;x\n[van]\naws_access_key_id = AKID\n[default]\naws_secret_access_key = s\n")
	f.Add("wJalrXUtnFEMI/K7MDENG")
	f.Add("[default\naws_access_key_id\x00=\n=")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := parseCredentials([]byte(text))
		if err != nil {
			if !credentialsError.MatchString(err.Error()) {
				t.Errorf("%q: %v", text, err)
			}
			return
		}
		for _, v := range []string{c.AccessKeyID, c.SecretAccessKey, c.SessionToken} {
			if !strings.Contains(text, v) || v != strings.TrimSpace(v) || strings.Contains(v, "\n") {
				t.Errorf("%q gives %q", text, v)
			}
		}
		if c.AccessKeyID == "" || c.SecretAccessKey == "" || !c.HasKeys() {
			t.Errorf("%q gives no keys and no error", text)
		}
		again, err := parseCredentials([]byte("[default]\naws_access_key_id=" + c.AccessKeyID + "\naws_secret_access_key=" + c.SecretAccessKey + "\naws_session_token=" + c.SessionToken))
		if err != nil || again != c {
			t.Errorf("%q gives %v, written again %v, %v", text, c, again, err)
		}
	})
}
