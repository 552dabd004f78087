/* rylagraph models pull: model files by name or address, with a bar, into the models folders. Called with argv after "pull". */
#ifndef RG_CLI_PULL_H
#define RG_CLI_PULL_H

int rg_cli_pull(int argc, char **argv);
extern const char rg_cli_pull_usage[];

#endif
