package blockstore

const victimEnv = "SHOAL_TEST_STORE_TO_BE_KILLED"

func writeUntilKilled() {}
