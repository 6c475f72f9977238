/** The `vanderpool` command. What must be quick (--version) is answered before anything else is loaded. */

const args = process.argv.slice(2);
if (args.length === 1 && (args[0] === '--version' || args[0] === '-V')) {
  process.stdout.write(`vanderpool ${process.env.VANDERPOOL_VERSION ?? 'development'}\n`);
} else {
  // Before anything else is loaded, which would be for nothing.
  if (args[0] === 'run') (await import('./allocator.ts')).useFrugalAllocator();
  const { runProgram } = await import('./program.ts');
  process.exitCode = await runProgram(args);
}

export {};
