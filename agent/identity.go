package agent

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
)

// machineID is where systemd keeps the board's identity (machine-id(5)).
const machineID = "/etc/machine-id"

// BoardID is the device's name where the configuration gives none.
func BoardID() (string, error) { return DeviceID(machineID) }

// DeviceID derives the device's name from the machine id in a file: the first 64 bits of HMAC-SHA256, keyed with the machine
// id, of this program's name. machine-id(5) asks that the id itself never leaves the machine. With a million devices the
// chance that two names collide is 3 in 10^8.
func DeviceID(path string) (string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("device id: %w; set vehicle.device_id", err)
	}
	id := bytes.TrimSpace(text)
	if len(id) < 32 || bytes.Count(id, id[:1]) == len(id) {
		return "", fmt.Errorf("device id: %s holds no machine id; set vehicle.device_id, or run systemd-machine-id-setup", path)
	}
	mac := hmac.New(sha256.New, id)
	mac.Write([]byte("obdagent device"))
	return hex.EncodeToString(mac.Sum(nil)[:8]), nil
}
