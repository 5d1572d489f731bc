package agenttest

import "os"

// PlainAWS gives the AWS SDK the same surroundings on every machine: credentials that no real account has, and no files or metadata
// service to look into. What is unset is taken out and not emptied: moto_server and cfn-lint inherit it, and take an empty profile or
// region for the name of one. For TestMain.
func PlainAWS() {
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_EC2_METADATA_DISABLED": "true",
		"AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull,
	} {
		if err := os.Setenv(name, value); err != nil {
			panic(err) // the name is no name
		}
	}
	for _, name := range []string{"AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"} {
		if err := os.Unsetenv(name); err != nil {
			panic(err)
		}
	}
}
