package config_test

import (
	"fmt"

	"obdagent/agent/config"
)

func Example() {
	file := `
[obd]
port = "/dev/ttyUSB0"

[uplink]
linger = "5m"
`
	c, err := config.Parse("van.toml", []byte(file), []string{"OBDAGENT_UPLINK_REGION=eu-central-1"})
	if err != nil {
		fmt.Println(err) // one line for each problem
		return
	}
	fmt.Println(c.OBD.Port, "from", c.Origin("obd.port"))
	fmt.Println(c.Uplink.Region, "from", c.Origin("uplink.region"))
	fmt.Println(c.Uplink.Linger, "and", c.Record.Interval)
	// Output:
	// /dev/ttyUSB0 from van.toml:3
	// eu-central-1 from env OBDAGENT_UPLINK_REGION
	// 5m0s and 1s
}

func ExampleParse_refused() {
	_, err := config.Parse("van.toml", []byte("[uplink]\nregion = \"us-esat-1\"\nkimd = \"firehose\"\n"), nil)
	fmt.Println(err)
	// Output:
	// van.toml:2: uplink.region: "us-esat-1" is not an AWS region name; write it as us-east-1
	// van.toml:3:1: uplink.kimd: unknown key; did you mean uplink.kind?
}
