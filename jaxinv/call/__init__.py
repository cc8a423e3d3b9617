"""The two doors: arguments checked, batches cut into chunks, chunks sent to devices."""
