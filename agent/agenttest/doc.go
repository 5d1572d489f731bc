// Package agenttest holds what tests of several packages need from the machine they run on: recordings, a look-alike of the
// cloud, an independent reader. It is imported by tests only.
//
// # Needs
//
// A test that needs something which not every machine has calls [Require] with the need's name. Where it is absent the test is
// skipped with the reason, unless the environment variable OBDAGENT_TEST_REQUIRE, a list with commas, holds the name: then it
// fails. So a developer can run all tests anywhere, and a build machine cannot pass by skipping.
//
//	moto           moto_server on PATH: a look-alike of Firehose, S3 and IAM
//	nmea           recordings of receivers in ../shared/nmea beside the checkout
//	contract       ../shared/contract.md beside the checkout: what existing readers rely on, and their code
//	duckdb         the npm package @duckdb/node-api, in the directory that OBDAGENT_TEST_DUCKDB names, and Node.js
//	trino          the npm package dt-sql-parser, in the directory that OBDAGENT_TEST_TRINO names, and Node.js
//	pace           a processor that keeps up with a simulated vehicle in real time; one that is emulated (OBDAGENT_TEST_EMULATED) does not
//	python-MODULE  the module in the system's Python, /usr/bin/python3 (python-boto3, python-pandas ...)
//	NAME           any other name: the program NAME on PATH (gpsd, chromium ...)
package agenttest
