import tseslint from 'typescript-eslint';

export default tseslint.config(
  // Of the files that scripts/generate.ts makes, the only one with code.
  { ignores: ['dist', 'node_modules', '.cache', 'src/cli/openapi.ts'] },
  {
    files: ['**/*.ts'],
    extends: [tseslint.configs.strictTypeChecked],
    languageOptions: { parserOptions: { projectService: true } },
    rules: {
      // A file that outgrows this holds more than one noun.
      'max-lines': ['error', 400],
      'no-console': 'error',
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true }],
      '@typescript-eslint/no-confusing-void-expression': 'off',
      '@typescript-eslint/no-unnecessary-type-parameters': 'off',
      '@typescript-eslint/require-await': 'off',
      // Our objects are closures; none of their methods uses `this`.
      '@typescript-eslint/unbound-method': 'off',
    },
  },
  { files: ['src/cli/**', 'scripts/**', 'bench/**'], rules: { 'no-console': 'off' } },
);
