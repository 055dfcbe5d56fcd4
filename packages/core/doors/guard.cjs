"use strict";
// Runs before anything else of the package. It is written in the JavaScript of 2015, so that an old Node.js can read
// it and say what is missing instead of failing on newer syntax.
var REQUIRED_MAJOR = 24;

module.exports = function guard(version, platform, architecture) {
  if (platform === "win32") {
    return "mobula runs on Linux and macOS: on Windows, use it inside the Windows Subsystem for Linux (https://learn.microsoft.com/windows/wsl/install).";
  }
  if (parseInt(version, 10) >= REQUIRED_MAJOR) return undefined;
  var local =
    platform === "linux" && (architecture === "x64" || architecture === "arm64")
      ? ", or, for this project alone, run `npm install node-linux-" +
        architecture +
        "@24` and start the program with `npx node`"
      : "";
  return (
    "mobula needs Node.js " +
    REQUIRED_MAJOR +
    " or newer, and this is Node.js " +
    version +
    ": install it from https://nodejs.org/" +
    local +
    "."
  );
};

module.exports.check = function check() {
  var problem = module.exports(process.versions.node, process.platform, process.arch);
  if (problem === undefined) return;
  var error = new Error(problem);
  error.code = "ERR_MOBULA_UNSUPPORTED_PLATFORM";
  // The stack would show only how the package was loaded, which has nothing to do with the cause.
  error.stack = `Error: ${problem}`;
  throw error;
};
